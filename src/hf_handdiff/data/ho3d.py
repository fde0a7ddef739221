"""HO3D v2 and v3 (Hampali et al., "HOnnotate", CVPR 2020) from the official download to a corpus.

What lies on disk: `{train,evaluation}/SEQ/{rgb,meta}/ID.{png,pkl}`, 640 x 480 px (v3: rgb is jpg); `train.txt` and
`evaluation.txt` with a line `SEQ/ID` for each frame. A pickle of the train split has `camMat` (3x3, px), `handJoints3D`
(21x3), `handPose` (48, relative to the flat hand), `handBeta` (10) and more; one of the evaluation split has only
the root joint in `handJoints3D` (3) and `handBoundingBox` (x0, y0, x1, y1 px). Metres in OpenGL axes, joints in
MANO's order. Frames without annotation hold None. The truth of the evaluation split was published later as
`evaluation_xyz.json` and `evaluation_verts.json`, in the order of `evaluation.txt`; it is used where it lies beside
`evaluation.txt`. Depth images are not needed and not read.

What becomes of it, beyond `annotated_rows.annotated_row`:

- a row is a square crop round the hand: round the box of the projected joints in the train split, round
  `handBoundingBox` in the evaluation split, with or without its truth, so that the images are those that anyone
  can have. It is resampled (bilinear, antialiased) to a fixed size and kept as JPEG of quality 95 without
  chroma subsampling; what it shows beyond the frame is black. `intrinsics_px` are those of the crop;
- points and rotations are turned into OpenCV axes, by which a point (x, y, z) becomes (x, -y, -z);
- `sample_id` is the line of the list, "SS1/0003", and rows are in its order; frames without annotation are left out
  and counted;
- `vertices_m` and `translation_m` need the user's MANO file and are NaN without it; those of the evaluation split
  are NaN unless its truth is there;
- a held-out split "validation" takes whole sequences, the last ones of the list;
- evaluation without published truth has the wrist, and NaN for all other joints: what a root-relative
  prediction needs to become an official one, but nothing that can be measured.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from hf_handdiff.camera import BOX_MARGIN, crop_image
from hf_handdiff.data.annotated_rows import annotated_row, check_camera, project_joints
from hf_handdiff.data.features import NUM_VERTICES
from hf_handdiff.data.mano_annotations import ManoHand, turn_global_rotation
from hf_handdiff.data.official_splits import (
    SPLITS,
    known_lists,
    read_image_of_size,
    read_matching_list,
    read_splits,
    write_splits,
)
from hf_handdiff.data.shards import SHARD_ROWS, BadSampleError, NotAnnotatedError, ShardReport
from hf_handdiff.errors import InputError
from hf_handdiff.hand.pickled_values import Allowance, to_array
from hf_handdiff.hand.pickles import load_restricted_pickle, read_file_up_to
from hf_handdiff.hand.topology import HO3D_TO_JOINTS, NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE

FRAME_SIZE_PX = (640, 480)
LARGEST_BOX_PX = 4 * max(FRAME_SIZE_PX)
CROP_SIZE_PX = 224
JPEG_QUALITY = 95
RGB_SUFFIXES = {"v2": ".png", "v3": ".jpg"}
OPENGL_TO_OPENCV = np.array([1.0, -1.0, -1.0])

_LINE = re.compile(r"[\w.-]+/\w+")
_LARGEST_ROOT_DISTANCE_M = 0.01  # between the pickle's root joint and the published truth of the frame
_MOST_PICKLE_BYTES = 1 << 23  # an annotation has some 10 KB
_IMPORTER_VERSION = 1


def import_ho3d(
    root: str | Path,
    out: str | Path,
    version: str,
    *,
    splits: Sequence[str] = SPLITS,
    mano: str | Path | None = None,
    margin: float = BOX_MARGIN,
    crop_size: int = CROP_SIZE_PX,
    validation_share: float = 0.0,
    skip_bad: bool = False,
    num_workers: int = 1,
    shard_rows: int = SHARD_ROWS,
    progress: bool = True,
) -> list[ShardReport]:
    """Write HO3D as a corpus, see the module's docstring; a run that was stopped is carried on.

    Args:
        root: folder of the download, with `train` or `evaluation` and the lists.
        out: folder of the corpus, made if missing.
        version: "v2" or "v3".
        splits: of "train" and "evaluation".
        mano: the user's MANO_RIGHT.pkl, for the meshes of the train split.
        margin: side of the crops over the longer side of the hand's box.
        crop_size: side of the crops in px.
        validation_share: of the training frames, held out in whole sequences as a split "validation".
        skip_bad: leave samples with missing or damaged files out, and count them.
        num_workers: threads.
        shard_rows: samples a shard.
        progress: show a progress bar.

    Raises:
        InputError: a file is missing, truncated or does not fit the others; the message names it.
    """
    if version not in RGB_SUFFIXES:
        raise InputError(f"version: expected {' or '.join(RGB_SUFFIXES)}, got {version!r}")
    if not (np.isfinite(margin) and margin >= 1):
        raise InputError(f"margin: expected at least 1, got {margin}")
    if crop_size < 1:
        raise InputError(f"crop_size: expected at least 1 px, got {crop_size}")
    hand = None if mano is None else ManoHand.load(mano)
    found = read_splits(
        root, "HO3D", splits, lambda root, split: _read_split(root, split, version), validation_share, _divide
    )
    return write_splits(
        out,
        found,
        lambda frames, index: frames.row(index, hand, margin, crop_size),
        lambda _: {
            "data_set": f"HO3D {version}",
            "importer_version": _IMPORTER_VERSION,
            "margin": float(margin),
            "crop_size": crop_size,
        },
        hand,
        skip_bad=skip_bad,
        num_workers=num_workers,
        shard_rows=shard_rows,
        progress=progress,
        root=Path(root),
    )


# ------------------------------------------------------------------------------------------------- frames


@dataclass(frozen=True)
class _Frames:
    """The frames of a split; the published truth is None in the train split and where it is not there."""

    folder: Path
    suffix: str
    sample_ids: list[str]  # "SEQ/ID", the lines of the list
    joints_m: np.ndarray | None  # (N, 21, 3), MANO's order, OpenGL axes
    vertices_m: np.ndarray | None  # (N, 778, 3) float32, OpenGL axes

    @property
    def is_evaluation(self) -> bool:
        return self.folder.name == "evaluation"

    @property
    def joints_known(self) -> bool:
        return self.joints_m is not None or not self.is_evaluation

    def annotations(self) -> list[str]:
        return known_lists(xyz=self.joints_m, verts=self.vertices_m)

    def row(self, index: int, hand: ManoHand | None, margin: float, crop_size: int) -> dict:
        line = self.sample_ids[index]
        sequence, frame = line.split("/")
        meta = _Meta(self.folder / sequence / "meta" / f"{frame}.pkl")
        joints, vertices = self._points(index, meta)
        pose, shape = meta.pose_and_shape()
        translation = None
        if hand is not None and pose is not None and np.isfinite(joints).all():
            vertices, translation = hand.place(line, pose, shape, joints, vertices)
        image = read_image_of_size(self.folder / sequence / "rgb" / f"{frame}{self.suffix}", FRAME_SIZE_PX)
        intrinsics = check_camera(meta.numbers("camMat", (3, 3)), f"{meta.path}: camMat")
        box = meta.box() if self.is_evaluation else None
        crop = _crop_round(_box_of_joints(joints, intrinsics, meta.path) if box is None else box, margin, meta.path)
        return annotated_row(
            line,
            _encode(image, crop, crop_size),
            (crop_size, crop_size),
            _intrinsics_of_crop(intrinsics, crop, crop_size),
            joints,
            vertices,
            pose,
            shape,
            translation,
        )

    def _points(self, index: int, meta: _Meta) -> tuple[np.ndarray, np.ndarray | None]:
        """Joints (21, 3) in our order and, where published, vertices (778, 3), in OpenCV axes."""
        joints = meta.joints()
        if joints.shape != (NUM_JOINTS, 3) and self.joints_m is None:
            if not self.is_evaluation:
                raise BadSampleError(f"{meta.path}: handJoints3D has shape {joints.shape}, expected ({NUM_JOINTS}, 3)")
            unknown = np.full((NUM_JOINTS - 1, 3), np.nan)
            return np.concatenate([joints.reshape(1, 3) * OPENGL_TO_OPENCV, unknown]), None
        if self.joints_m is not None:
            published = self.joints_m[index]
            distance = np.linalg.norm(published[0] - joints.reshape(-1, 3)[0])
            if not distance <= _LARGEST_ROOT_DISTANCE_M:
                raise BadSampleError(
                    f"{meta.path}: its root joint is {1000 * distance:.0f} mm off entry {index} of "
                    "evaluation_xyz.json: expected the published truth of this release, in the order of evaluation.txt"
                )
            joints = published
        if not np.isfinite(joints).all():
            raise BadSampleError(f"{meta.path}: its joints hold numbers that are not finite")
        vertices = None if self.vertices_m is None else self.vertices_m[index] * OPENGL_TO_OPENCV
        return joints[list(HO3D_TO_JOINTS)] * OPENGL_TO_OPENCV, vertices


def _read_split(root: Path, split: str, version: str) -> _Frames:
    """The list of a split, and the published truth where it is there, checked against each other."""
    lines = _read_lines(root / f"{split}.txt")
    if not (root / split).is_dir():
        raise InputError(f"root: expected the folder {split} of HO3D in {root}")
    _check_version(root / split, lines[0], version)

    def read(kind: str, shape: tuple[int, ...], dtype=np.float64) -> np.ndarray | None:
        path = root / f"evaluation_{kind}.json"
        if split != "evaluation" or not path.exists():
            return None
        counted = f"evaluation.txt has {len(lines)} lines"
        expected = f"the published truth of HO3D {version}, and whole"
        return read_matching_list(path, shape, len(lines), counted, expected, dtype)

    joints, vertices = read("xyz", (NUM_JOINTS, 3)), read("verts", (NUM_VERTICES, 3), np.float32)
    if joints is None and vertices is not None:
        raise InputError(f"{root / 'evaluation_xyz.json'} is missing: expected beside evaluation_verts.json")
    return _Frames(root / split, RGB_SUFFIXES[version], lines, joints, vertices)


def _divide(frames: _Frames, share: float) -> tuple[_Frames, _Frames]:
    """All but the last sequences, and the last ones, as many as it takes to hold that share of the frames."""
    counts = Counter(line.split("/")[0] for line in frames.sample_ids)
    held_out: set[str] = set()
    for sequence in reversed(counts):
        if sum(counts[name] for name in held_out) >= share * len(frames.sample_ids):
            break
        held_out.add(sequence)
    kept = [line for line in frames.sample_ids if line.split("/")[0] not in held_out]
    others = [line for line in frames.sample_ids if line.split("/")[0] in held_out]
    return replace(frames, sample_ids=kept), replace(frames, sample_ids=others)


def _read_lines(path: Path) -> list[str]:
    """The lines `SEQ/ID` of a list of frames."""
    if not path.is_file():
        raise InputError(f"{path} is missing: expected HO3D's list of frames, a line SEQ/ID each")
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not _LINE.fullmatch(line) or line.startswith("."):
            raise InputError(f"{path}, line {number}: expected SEQ/ID, got {line[:60]!r}")
    if not lines:
        raise InputError(f"{path} is empty: expected HO3D's list of frames, a line SEQ/ID each")
    if len(set(lines)) < len(lines):
        raise InputError(f"{path} lists a frame twice")
    return lines


def _check_version(folder: Path, line: str, version: str) -> None:
    """One clear sentence instead of one about every frame, where the other version was meant."""
    sequence, frame = line.split("/")
    here = {name for name, suffix in RGB_SUFFIXES.items() if (folder / sequence / "rgb" / f"{frame}{suffix}").is_file()}
    if here and version not in here:
        raise InputError(
            f"version: {folder / sequence / 'rgb'} holds {RGB_SUFFIXES[here.pop()]} images: "
            f"this is not HO3D {version}, whose images are {RGB_SUFFIXES[version]}"
        )


# ---------------------------------------------------------------------------------------------- the pickle


class _Meta:
    """The annotation of one frame."""

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise BadSampleError(f"{path} is missing")
        try:
            self._fields = load_restricted_pickle(read_file_up_to(path, _MOST_PICKLE_BYTES), "HO3D annotation")
        except (ValueError, OSError) as error:
            raise BadSampleError(f"{path} is not a readable HO3D annotation: {error}") from None

    def numbers(self, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
        """A field as finite numbers of one of `shapes`, in float64."""
        try:
            values = to_array(self._fields[name], Allowance())
        except KeyError:
            raise BadSampleError(f"{self.path} has no field {name}") from None
        except InputError:
            raise BadSampleError(f"{self.path}: {name} does not hold numbers") from None
        if values.dtype.kind not in "biuf":
            raise BadSampleError(f"{self.path}: {name} does not hold numbers")
        if values.shape not in shapes:
            raise BadSampleError(
                f"{self.path}: {name} has shape {values.shape}, expected {' or '.join(map(str, shapes))}"
            )
        if not np.isfinite(values).all():
            raise BadSampleError(f"{self.path}: {name} holds numbers that are not finite")
        return values.astype(np.float64)

    def joints(self) -> np.ndarray:
        """(21, 3) or, in the evaluation split, (3,): m, OpenGL axes, MANO's order."""
        if self._fields.get("handJoints3D", "") is None:
            raise NotAnnotatedError(f"{self.path}: handJoints3D is None")
        return self.numbers("handJoints3D", (NUM_JOINTS, 3), (3,), (1, 3))

    def pose_and_shape(self) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """(16, 3) rad, the global rotation into OpenCV axes, and (10,); None where they are not told."""
        if self._fields.get("handPose") is None or self._fields.get("handBeta") is None:
            return None, None
        pose = self.numbers("handPose", (3 * NUM_ROTATIONS,)).reshape(NUM_ROTATIONS, 3)
        return turn_global_rotation(pose, np.diag(OPENGL_TO_OPENCV)), self.numbers("handBeta", (NUM_SHAPE,))

    def box(self) -> np.ndarray | None:
        """(4,) x0, y0, x1, y1 px, of the evaluation split."""
        return None if self._fields.get("handBoundingBox") is None else self.numbers("handBoundingBox", (4,))


# ------------------------------------------------------------------------------------------------- crops


def _box_of_joints(joints_m: np.ndarray, intrinsics_px: np.ndarray, path: Path) -> np.ndarray:
    """Box (4,) x0, y0, x1, y1 px of the projected joints (21, 3)."""
    if not np.isfinite(joints_m).all():
        raise BadSampleError(f"{path} has neither 21 joints nor a handBoundingBox: there is nothing to crop by")
    if (joints_m[:, 2] <= 0).any():
        raise BadSampleError(f"{path}: its joints are behind the camera")
    points = project_joints(joints_m, intrinsics_px)
    return np.concatenate([points.min(0), points.max(0)])


def _crop_round(box_px: np.ndarray, margin: float, path: Path) -> np.ndarray:
    """(3,) centre x, centre y, side px of the square crop round a box."""
    (x0, y0, x1, y1), (width, height) = box_px, FRAME_SIZE_PX
    if x1 <= x0 or y1 <= y0:
        raise BadSampleError(f"{path}: the hand's box {box_px.tolist()} is empty, expected x0, y0, x1, y1")
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise BadSampleError(f"{path}: the hand's box {np.round(box_px).tolist()} px is outside of the image")
    if max(x1 - x0, y1 - y0) > LARGEST_BOX_PX:
        raise BadSampleError(f"{path}: the hand's box {np.round(box_px).tolist()} px is far larger than the image")
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, margin * max(x1 - x0, y1 - y0)])


def _intrinsics_of_crop(intrinsics_px: np.ndarray, crop: np.ndarray, size: int) -> np.ndarray:
    """The camera (3, 3) of the pixels of a resampled crop."""
    zoom = size / crop[2]
    left, top = crop[:2] - crop[2] / 2
    return np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top], [0, 0, 1]]) @ intrinsics_px


def _encode(image: np.ndarray, crop: np.ndarray, size: int) -> bytes:
    """The resampled crop of a frame as JPEG."""
    pixels = (crop_image(image, crop, size) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
