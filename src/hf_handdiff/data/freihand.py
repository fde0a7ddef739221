"""FreiHAND (Zimmermann et al., "FreiHAND", ICCV 2019) from its official download to a corpus.

What lies on disk, in one folder: `training/rgb/%08d.jpg` and `evaluation/rgb/%08d.jpg`, 224 x 224 px, right hands;
lists with one entry a sample, `training_K.json` (3x3, px), `training_xyz.json` (21x3, m, camera axes, our joint
order), `training_mano.json` (1x61: pose 48 relative to MANO's mean pose, shape 10, and three more) and, in a
download of its own, `training_verts.json` (778x3, m); the same names with `evaluation_`. Sample i of version v of
the N training samples is file i + N v; version 0 is the green screen, 1 to 3 have other backgrounds. Masks
(`training/mask`) and `*_scale.json` are not needed and not read.

What becomes of it, beyond `annotated_rows.annotated_row`:

- the image files are kept byte for byte, the whole image being the crop, with the intrinsics as published;
- `sample_id` is the file, "training/00000012", and rows are in the order of the files;
- `vertices_m` are the published ones; without them those of `*_mano.json` posed by the user's MANO file; else NaN;
- `pose_rad` is relative to the flat hand, so its fingers need MANO's mean pose: without a MANO file they are NaN and
  only the global rotation is told, as is `shape`; `translation_m` is NaN then;
- a held-out split "validation" takes the last entries of the training lists, in all of their versions;
- evaluation without `evaluation_xyz.json` has NaN for all that is not published: its images can be predicted on
  but not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hf_handdiff.data.annotated_rows import annotated_row
from hf_handdiff.data.features import NUM_VERTICES
from hf_handdiff.data.mano_annotations import ManoHand
from hf_handdiff.data.number_lists import read_number_list
from hf_handdiff.data.official_splits import (
    SPLITS,
    VALIDATION,
    known_lists,
    read_image_of_size,
    read_matching_list,
    read_splits,
    write_splits,
)
from hf_handdiff.data.shards import SHARD_ROWS, BadSampleError, ShardReport
from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE

IMAGE_SIZE_PX = 224
NUM_VERSIONS = 4
_OFFICIAL_NAMES = {"train": "training", "evaluation": "evaluation"}
_IMPORTER_VERSION = 1


def import_freihand(
    root: str | Path,
    out: str | Path,
    *,
    splits: Sequence[str] = SPLITS,
    versions: Sequence[int] = range(NUM_VERSIONS),
    mano: str | Path | None = None,
    validation_share: float = 0.0,
    skip_bad: bool = False,
    num_workers: int = 1,
    shard_rows: int = SHARD_ROWS,
    progress: bool = True,
) -> list[ShardReport]:
    """Write FreiHAND as a corpus, see the module's docstring; a run that was stopped is carried on.

    Args:
        root: folder of the download, with `training` or `evaluation` and the lists.
        out: folder of the corpus, made if missing.
        splits: of "train" and "evaluation".
        versions: of the training images, 0 to 3.
        mano: the user's MANO_RIGHT.pkl, for the poses and, where `*_verts.json` is missing, the meshes.
        validation_share: of the training entries, held out as a split "validation".
        skip_bad: leave samples with missing or damaged images out, and count them.
        num_workers: threads.
        shard_rows: samples a shard.
        progress: show a progress bar.

    Raises:
        InputError: a file is missing, truncated or does not fit the others; the message names it.
    """
    versions = sorted(set(versions))
    if not versions or not set(versions) <= set(range(NUM_VERSIONS)):
        raise InputError(f"versions: expected some of 0 to {NUM_VERSIONS - 1}, got {versions}")
    hand = None if mano is None else ManoHand.load(mano)
    of_split = {"train": versions, "evaluation": [0]}
    found = read_splits(
        root,
        "FreiHAND",
        splits,
        lambda root, split: _read_split(root, split, of_split[split]),
        validation_share,
        _divide,
    )
    return write_splits(
        out,
        found,
        lambda samples, index: samples.row(index, hand),
        lambda split: {
            "data_set": "FreiHAND",
            "importer_version": _IMPORTER_VERSION,
            "versions": of_split["train" if split == VALIDATION else split],
        },
        hand,
        skip_bad=skip_bad,
        num_workers=num_workers,
        shard_rows=shard_rows,
        progress=progress,
        root=Path(root),
    )


@dataclass(frozen=True)
class _Samples:
    """The images of a split and its lists, of N entries each; None where a list is not there."""

    root: Path
    name: str  # "training" or "evaluation"
    files: list[int]  # file numbers, in order; file n shows entry n % N
    intrinsics_px: np.ndarray  # (N, 3, 3)
    joints_m: np.ndarray | None  # (N, 21, 3)
    vertices_m: np.ndarray | None  # (N, 778, 3) float32
    mano: np.ndarray | None  # (N, 1, 61)

    @property
    def joints_known(self) -> bool:
        return self.joints_m is not None

    @property
    def sample_ids(self) -> list[str]:
        return [f"{self.name}/{file:08d}" for file in self.files]

    def annotations(self) -> list[str]:
        return known_lists(xyz=self.joints_m, verts=self.vertices_m, mano=self.mano)

    def row(self, index: int, hand: ManoHand | None) -> dict:
        file, entry = self.files[index], self.files[index] % len(self.intrinsics_px)
        sample_id, path = f"{self.name}/{file:08d}", _image_path(self.root, self.name, file)
        read_image_of_size(path, (IMAGE_SIZE_PX, IMAGE_SIZE_PX))
        joints, vertices = (
            None if values is None else _finite(values[entry].astype(np.float64), sample_id)
            for values in (self.joints_m, self.vertices_m)
        )
        pose = shape = translation = None
        if self.mano is not None:
            numbers = _finite(self.mano[entry, 0], sample_id)
            pose = numbers[: 3 * NUM_ROTATIONS].reshape(NUM_ROTATIONS, 3)
            shape = numbers[3 * NUM_ROTATIONS :][:NUM_SHAPE]
            if hand is None:
                pose = np.concatenate([pose[:1], np.full_like(pose[1:], np.nan)])
            else:
                pose = hand.flat_pose(pose)
                vertices, translation = hand.place(sample_id, pose, shape, joints, vertices)
        return annotated_row(
            sample_id,
            path.read_bytes(),
            (IMAGE_SIZE_PX, IMAGE_SIZE_PX),
            self.intrinsics_px[entry],
            joints,
            vertices,
            pose,
            shape,
            translation,
        )


def _read_split(root: Path, split: str, versions: Sequence[int]) -> _Samples:
    """The lists of a split, checked against each other and against the images."""
    name = _OFFICIAL_NAMES[split]
    if not (root / name / "rgb").is_dir():
        raise InputError(f"root: expected the folder {name}/rgb of FreiHAND's {split} split in {root}")
    intrinsics = read_number_list(root / f"{name}_K.json", (3, 3))

    def read(kind: str, shape: tuple[int, ...], required: bool, dtype=np.float64) -> np.ndarray | None:
        path = root / f"{name}_{kind}.json"
        if not required and not path.exists():
            return None
        counted = f"{name}_K.json has {len(intrinsics)}"
        return read_matching_list(path, shape, len(intrinsics), counted, "lists of one release, and whole", dtype)

    mano = read("mano", (1, 61), required=False)
    meshes_are_there = (root / f"{name}_verts.json").exists()
    joints = read("xyz", (NUM_JOINTS, 3), required=split == "train" or mano is not None or meshes_are_there)
    vertices = read("verts", (NUM_VERTICES, 3), required=False, dtype=np.float32)
    _check_number_of_images(root, name, len(intrinsics) * (NUM_VERSIONS if split == "train" else 1), len(intrinsics))
    files = [entry + version * len(intrinsics) for version in versions for entry in range(len(intrinsics))]
    return _Samples(root, name, files, intrinsics, joints, vertices, mano)


def _divide(samples: _Samples, share: float) -> tuple[_Samples, _Samples]:
    """All but the last entries, and the last ones: no hand is in both."""
    entries = len(samples.intrinsics_px)
    first_held_out = entries - round(share * entries)
    kept = [file for file in samples.files if file % entries < first_held_out]
    held_out = [file for file in samples.files if file % entries >= first_held_out]
    return replace(samples, files=kept), replace(samples, files=held_out)


def _check_number_of_images(root: Path, name: str, expected: int, entries: int) -> None:
    """Lists that are too short would give images of one version the labels of other samples."""
    one_more = _image_path(root, name, expected)
    if one_more.exists():
        raise InputError(
            f"{one_more} does not fit {name}_K.json: with its {entries} entries the last image is "
            f"{expected - 1:08d}.jpg; is the list truncated?"
        )


def _image_path(root: Path, name: str, number: int) -> Path:
    return root / name / "rgb" / f"{number:08d}.jpg"


def _finite(values: np.ndarray, sample_id: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise BadSampleError(f"{sample_id}: its annotation holds numbers that are not finite")
    return values
