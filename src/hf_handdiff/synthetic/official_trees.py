"""Writing renders as a tree in the layout of FreiHAND or HO3D: by worker processes, resumable, the lists last.

Images, masks and pickles are made a few entries at a time; what the lists need of these is kept in a hidden folder of
the tree until all are there. Then the lists, the MANO file and the README are written, and the hidden folder goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from hf_handdiff.data.shards import claim_folder
from hf_handdiff.errors import InputError
from hf_handdiff.files import make_writable_folder, remove_leftovers, replace_file
from hf_handdiff.synthetic.card import MADE_OF
from hf_handdiff.synthetic.mano_format import write_mano_pickle
from hf_handdiff.synthetic.processes import run_jobs
from hf_handdiff.synthetic.tree_scenes import ASSETS_OF_SPLIT
from hf_handdiff.synthetic.writer import GENERATOR_VERSION

TREE_VERSION = 1
CHUNK_ENTRIES = 8
POINT_DECIMALS = 7  # of metres in JSON
MANO_FILE = "MANO_RIGHT.pkl"
_SETTINGS, _README, _LABELS = "tree.json", "README.md", ".labels"
_JPEG_QUALITY = 92


class TreeLayout(Protocol):
    """A layout with all that decides what a tree in it holds; splits are "train" and "evaluation"."""

    name: str
    readme: str
    import_command: str
    num_samples: int
    evaluation_samples: int
    seed: int

    def settings(self) -> dict[str, Any]:
        """What a tree's settings name besides the counts and the seed."""

    def num_entries(self, split: str) -> int:
        """Entries of a split."""

    def num_images(self, split: str) -> int:
        """Images of each entry of a split."""

    def files(self, split: str, entry: int) -> list[str]:
        """The files of an entry, relative to the tree."""

    def make(self, split: str, entry: int, assets) -> tuple[list[bytes], dict[str, np.ndarray]]:
        """The bytes of `files(split, entry)`, and what the lists hold of it."""

    def lists(self) -> list[str]:
        """The files that are written last."""

    def write_lists(self, root: Path, split: str, labels: dict[str, np.ndarray]) -> None:
        """Write the lists of a split from what `make` gave of all its entries, in order."""


def write_tree(out: str | Path, layout: TreeLayout, num_workers: int = 1, *, progress: bool = True) -> Path:
    """Write renders as a tree in an official layout; a run that was stopped is carried on by the same call.

    What is written depends on `layout` alone, not on `num_workers`. The evaluation split shares neither random streams
    nor lights, hand shapes or signers with the train split.

    Args:
        out: folder of the tree, made if missing.
        layout: `FreihandTree` or `Ho3dTree`.
        num_workers: processes of one thread each.
        progress: show a progress bar on standard error.

    Raises:
        InputError: a count or the seed cannot be, or `out` holds something else.
        RuntimeError: a worker failed.
    """
    counts = {name: getattr(layout, name) for name in ("num_samples", "evaluation_samples")}
    for name, value in {**counts, "num_workers": num_workers}.items():
        if value < 1:
            raise InputError(f"{name}: expected at least 1, got {value}")
    if layout.seed < 0:
        raise InputError(f"seed: expected at least 0, got {layout.seed}")
    out = _claim(make_writable_folder(out, "out"), layout, counts)
    chunks = [
        (split, start, min(start + CHUNK_ENTRIES, layout.num_entries(split)))
        for split in ASSETS_OF_SPLIT
        for start in range(0, layout.num_entries(split), CHUNK_ENTRIES)
    ]
    listed = all((out / name).exists() for name in layout.lists())
    todo = [chunk for chunk in chunks if not _is_there(out, layout, chunk, listed)]
    total, left = (sum(layout.num_images(split) * (stop - start) for split, start, stop in some)
                   for some in (chunks, todo))  # fmt: skip
    with tqdm(total=total, initial=total - left, unit="image", disable=not progress) as bar:
        run_jobs(partial(_work, out, layout), todo, left, num_workers, bar)
    if not listed:
        for split in ASSETS_OF_SPLIT:
            layout.write_lists(out, split, _labels_of(out, [chunk for chunk in chunks if chunk[0] == split]))
    write_mano_pickle(out / MANO_FILE)
    with replace_file(out / _README) as aside:
        aside.write_text(_readme_text(layout))
    shutil.rmtree(out / _LABELS, ignore_errors=True)
    return out


def encode_image(image: np.ndarray, suffix: str) -> bytes:
    """The bytes of an image (H, W, 3) RGB or (H, W) grey, uint8, as ".jpg" or ".png"."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
    ok, data = cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image, options)
    if not ok:
        raise RuntimeError("OpenCV could not encode a rendered image")
    return data.tobytes()


def _claim(out: Path, layout: TreeLayout, counts: dict[str, int]) -> Path:
    """See that the folder is this tree's: nothing of anyone else is ever touched."""
    remove_leftovers(out)
    if not (out / _SETTINGS).exists() and any(out.iterdir()):
        raise InputError(f"out: {out} holds something else: expected an empty folder, or a tree that was begun there")
    settings = {"generator": "hf_handdiff.synthetic", "generator_version": GENERATOR_VERSION}
    settings |= {"tree_version": TREE_VERSION, **layout.settings(), **counts, "seed": layout.seed}
    claim_folder(out / _SETTINGS, settings, "a tree")
    return out


# ---- the entries

Chunk = tuple[str, int, int]  # split, first entry, the one after the last


def _is_there(out: Path, layout: TreeLayout, chunk: Chunk, listed: bool) -> bool:
    """Whether a chunk needs not be made: its files are there, and its labels or the lists made of them."""
    split, start, stop = chunk
    known = listed or _labels_path(out, chunk).exists()
    return known and all((out / name).exists() for entry in range(start, stop) for name in layout.files(split, entry))


def _work(out: Path, layout: TreeLayout, chunks: Iterable[Chunk], report: Callable[[int], None]) -> None:
    """Make chunks of entries: files that are not there yet, and then the labels."""
    from hf_handdiff.synthetic.assets import SceneAssets

    assets: dict[str, SceneAssets] = {}
    for chunk in chunks:
        split, start, stop = chunk
        if split not in assets:
            assets[split] = SceneAssets.load(ASSETS_OF_SPLIT[split])
        labels = []
        for entry in range(start, stop):
            contents, entry_labels = layout.make(split, entry, assets[split])
            labels.append(entry_labels)
            for name, content in zip(layout.files(split, entry), contents, strict=True):
                _write_missing(out / name, content)
            report(layout.num_images(split))
        _labels_path(out, chunk).parent.mkdir(exist_ok=True)
        with replace_file(_labels_path(out, chunk)) as aside:
            np.savez(aside, **{kind: np.stack([entry[kind] for entry in labels]) for kind in labels[0]})


def _write_missing(path: Path, content: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as aside:
            aside.write_bytes(content)


def _labels_path(out: Path, chunk: Chunk) -> Path:
    return out / _LABELS / f"{chunk[0]}-{chunk[1]:08d}.npz"


def _labels_of(out: Path, chunks: list[Chunk]) -> dict[str, np.ndarray]:
    """What `make` gave of all entries of a split, in order."""
    parts = []
    for chunk in chunks:
        with np.load(_labels_path(out, chunk), allow_pickle=False) as file:
            parts.append(dict(file))
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}


# ---- the README


def _readme_text(layout: TreeLayout) -> str:
    version = getattr(layout, "version", None)
    command = f"handdiff data synthetic --layout {layout.name.lower()} --out TREE --num-samples {layout.num_samples}"
    command += f" --evaluation-samples {layout.evaluation_samples} --seed {layout.seed}"
    command += f" --ho3d-version {version}" if version else ""
    return f"""\
# Renders in the layout of {layout.name}{f" {version}" if version else ""}

This is not {layout.name}, and nothing of it or of MANO is in here. These are {layout.num_samples} training and
{layout.evaluation_samples} evaluation images of rendered hands, written in the layout of {layout.name}, so that what
was made for {layout.name} can be run and verified without it. Scores on them say nothing about {layout.name}.

Made by hf_handdiff (version {GENERATOR_VERSION} of the generator), the same from the same command:

```
{command}
```

Every image shows a right hand.
{layout.readme}

`{MANO_FILE}` is the open hand of hf_handdiff in MANO's file format and conventions, with a rest pose, a mean pose and
a numbering of the vertices of its own. Meshes and parameters of the tree belong to this file, as those of
{layout.name} belong to MANO's:

```
{layout.import_command}
```

The splits share no random stream, no light environment, no band of hand shapes and no recorded signers.

## Licence

The renders, their labels and `{MANO_FILE}` may be used under the Apache License 2.0.

{MADE_OF}
"""
