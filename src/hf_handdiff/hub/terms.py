"""What one may do with weights that were learned from others' hands and data sets: for cards, and before a push."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_handdiff.errors import InputError
from hf_handdiff.hand.mesh_kinds import is_open_topology
from hf_handdiff.hand.topology import MANO, OTHER, USERS_HAND
from hf_handdiff.json_files import read_json_object

_MANO_LICENCE = "https://mano.is.tue.mpg.de/license.html"
_DATA_SETS = {
    "FreiHAND": "https://lmb.informatik.uni-freiburg.de/resources/datasets/FreihandDataset.en.html",
    "HO3D": "https://github.com/shreyashampali/ho3d",
}
"""Data sets whose importers the package has, by how their names begin, and where their terms stand."""

_INSIDE = (
    "Inside are weights that were learned from samples of the hand, posed at random, and a linear reader of joints "
    "that was fitted to such samples. Not inside are arrays of the hand's file: no template, triangles, blend shapes, "
    "skinning weights or joint regressor. Who wants triangles, or fitted answers, gets that file from its owners under "
    "their licence"
)


def licence_metadata(names: Sequence[str]) -> dict[str, str]:
    """The licence fields of a card's metadata.

    Args:
        names: hands and data sets, see `HandModelConfig.restricted_by`.
    """
    if not names:
        return {"license": "apache-2.0"}
    if MANO in names:
        return {"license": "other", "license_name": "mano", "license_link": _MANO_LICENCE}
    if set(names) & {USERS_HAND, OTHER}:
        return {"license": "other", "license_name": "unknown"}
    links = [link for name in names if (link := _link(name))]
    return {"license": "other", "license_name": "research-only", **({"license_link": links[0]} if links else {})}


def licence_text(names: Sequence[str]) -> str:
    """What one may do with the weights, in Markdown; empty where nothing restricts them."""
    parts = []
    if MANO in names:
        parts.append(
            "**These weights were learned from MANO's hand**, whose [licence]"
            f"({_MANO_LICENCE}) governs them: research that is not commercial, and nothing else. {_INSIDE} and gives "
            'it to `pipe.use_hand("MANO_RIGHT.pkl")`, in commands to `--hand MANO_RIGHT.pkl`.'
        )
    elif set(names) & {USERS_HAND, OTHER}:
        parts.append(
            "**These weights were learned from a hand model of their maker's**, whose licence governs them: ask who "
            f"made them. {_INSIDE} and gives it to `pipe.use_hand(FILE)`, in commands to `--hand FILE`."
        )
    for name in names:
        if name not in (MANO, OTHER, USERS_HAND):
            told = f"[{name}]({_link(name)})" if _link(name) else name
            parts.append(
                f"**They were learned from {told}**, which is for research alone; its terms govern what was learned "
                "from it, and no image or annotation of it is inside."
            )
    return " ".join(parts)


def _link(name: str) -> str | None:
    return next((link for start, link in _DATA_SETS.items() if name.startswith(start)), None)


def terms_of_folder(folder: Path) -> list[str]:
    """`restricted_by` of all networks of a checkpoint, and the mesh that its autoencoder was trained for."""
    names: set[str] = set()
    for file in sorted(folder.glob("*/config.json")):
        names |= set(config_terms(read_json_object(file, file.parent.name, "of a network", finite=False)))
    return sorted(names)


def config_terms(config: Mapping[str, Any]) -> list[str]:
    """`restricted_by` of a network's config; nothing where it holds something else."""
    names = config.get("restricted_by")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def refuse_users_triangles(folder: Path) -> None:
    """Refuse to pass on a mesh autoencoder of an earlier version that holds another hand's triangles.

    Args:
        folder: of a pipeline, or of the autoencoder itself.

    Raises:
        InputError: it holds them.
    """
    from safetensors import SafetensorError, safe_open

    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("mesh_autoencoder/*.safetensors")]):
        try:
            with safe_open(file, "np") as weights:
                faces = weights.get_tensor("faces") if "faces" in weights.keys() else None  # noqa: SIM118
        except SafetensorError:
            continue
        if faces is not None and faces.any() and not is_open_topology(faces):
            raise InputError(
                f"folder: {file.relative_to(folder)} holds the triangles of a hand that may not be passed on; load it "
                "and save it anew (from_pretrained, save_pretrained): that leaves them out"
            )
