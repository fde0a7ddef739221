"""What the user of `handdiff predict` asked for, with checks of boxes, cameras and sizes. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_handdiff.errors import InputError
from hf_handdiff.json_files import finite_numbers, read_json_object, shown
from hf_handdiff.pipelines.defaults import (
    DEFAULT_AGGREGATION,
    HAND_LENGTH_RANGE_M,
    NUM_HYPOTHESES,
    WRIST_DEPTH_RANGE_M,
)
from hf_handdiff.video.defaults import DETECT_EVERY, LOOKAHEAD

if TYPE_CHECKING:
    import numpy as np

Box = tuple[float, ...]

WRITABLE = ("json", "glb", "png")
"""What can be written for each hand of an image."""


@dataclass(frozen=True)
class PredictionSettings:
    """What the user asked for; None leaves it to the checkpoint.

    Attributes:
        out: folder of the results, made if it is missing.
        checkpoint: folder or Hub repository; None is the checkpoint that comes with the package.
        hand_model: file of the right hand that answers are fitted with; None: the open hand.
        hand: "left" or "right"; None: what the detector says, or right.
        box: (x0, y0, x1, y1) px around the hand, for every image.
        boxes: box or None by image name, instead of `box`.
        detector: "builtin", "mediapipe", or None.
        detector_keypoints: use the detector's 2D keypoints instead of the built-in estimate.
        intrinsics: (fx, fy, cx, cy) px, for every image.
        hand_length: m, of every hand, from the wrist joint to the tip of the middle finger.
        wrist_depth: m, z of every wrist in the camera frame, instead of `hand_length`.
        num_hypotheses, seed, steps, mesh_steps, aggregation: as in the pipeline.
        scene: also write all hands of an image together, in the frame of one camera, see `hf_handdiff.scene`.
        save_vertices: also write an NPZ file with every array.
        write: which of `WRITABLE` are written for an image.
        device: where the networks run; None: a GPU if there is one.
        batch_size: hands that go through the networks together; None: 8 on a GPU, 1 on a CPU, where batches gain
            little and single images keep their answers to the last bit.
        resume: leave out what an earlier run with the same settings has done.
        detect_every: frames of a video between two looks of the detector.
        lookahead: frames of a video that an answer waits for.
    """

    out: Path
    checkpoint: str | None = None
    hand_model: str | None = None
    hand: str | None = None
    box: Box | None = None
    boxes: dict[str, Box | None] | None = None
    detector: str | None = None
    detector_keypoints: bool = False
    intrinsics: tuple[float, ...] | None = None
    hand_length: float | None = None
    wrist_depth: float | None = None
    num_hypotheses: int = NUM_HYPOTHESES
    seed: int = 0
    steps: int | None = None
    mesh_steps: int | None = None
    aggregation: str = DEFAULT_AGGREGATION
    scene: bool = False
    save_vertices: bool = False
    write: tuple[str, ...] = WRITABLE
    device: str | None = None
    batch_size: int | None = None
    resume: bool = False
    detect_every: int = DETECT_EVERY
    lookahead: int = LOOKAHEAD

    @property
    def side(self) -> str:
        """The side of a hand of which no detector says it."""
        return self.hand or "right"

    @property
    def camera_matrix(self) -> np.ndarray | None:
        """The camera (3, 3) px that the user gave, or None."""
        if self.intrinsics is None:
            return None
        import numpy as np

        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def camera_of(self, image: np.ndarray) -> np.ndarray | None:
        """The camera (3, 3) px of an image (H, W, 3), or None: a scene needs one, given or not."""
        if self.intrinsics is None and self.scene:
            from hf_handdiff.camera import photo_intrinsics

            return photo_intrinsics(*image.shape[:2])
        return self.camera_matrix

    def of_answers(self) -> dict[str, Any]:
        """Those on which the answers depend, for comparing two runs.

        Sizes, another hand and scenes are among them only where they are asked for: runs of older versions, which knew
        none, are alike.
        """
        others = {"out", "device", "batch_size", "resume"}
        others |= {name for name in ("hand_model", "hand_length", "wrist_depth") if getattr(self, name) is None}
        if self.write == WRITABLE:  # as all runs did before there was a choice: their manifests hold
            others.add("write")
        others |= set() if self.scene else {"scene"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}

    def of_sampling(self) -> dict[str, Any]:
        """Keyword arguments of the pipeline."""
        return {
            "num_hypotheses": self.num_hypotheses,
            "generator": self.seed,
            "num_inference_steps": self.steps,
            "num_mesh_inference_steps": self.mesh_steps,
            "aggregation": self.aggregation,
            "hand_length_m": self.hand_length,
            "wrist_depth_m": self.wrist_depth,
        }

    def for_file(self, path: str) -> PredictionSettings:
        """The same with the box of a file as `box`, where `boxes` are given.

        Raises:
            InputError: `boxes` has no entry for the file.
        """
        if self.boxes is None:
            return self
        for key in (str(path), Path(path).name, Path(path).stem):
            if key in self.boxes:
                return replace(self, box=self.boxes[key], boxes=None)
        raise InputError(f"--boxes: there is no entry '{Path(path).name}'; null stands for the whole image")


def load_boxes(path: str) -> dict[str, Box | None]:
    """Read a JSON file that maps image names to boxes [x0, y0, x1, y1], or null for the whole image.

    Raises:
        InputError: the file is missing, too large, no JSON, or maps a name to something else.
    """
    content = read_json_object(path, "--boxes", "that maps image names to [x0, y0, x1, y1]")
    return {name: None if box is None else check_box(box, f"--boxes: {shown(name)}") for name, box in content.items()}


def check_box(values: Any, name: str = "box") -> Box:
    """Return four finite numbers x0 < x1, y0 < y1, or raise `InputError`; `values`: numbers, or "x0,y0,x1,y1"."""
    box = _four_numbers(values)
    if box is None:
        raise InputError(f"{name}: expected four numbers x0,y0,x1,y1 in px, got {shown(values)}")
    if not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(f"{name}: expected x0 < x1 and y0 < y1, got a box without pixels: {shown(values)}")
    return box


def check_writable(text: str, name: str = "--write") -> tuple[str, ...]:
    """Return those of `WRITABLE` that a comma-separated text names, in their order, or raise `InputError`."""
    asked = {part.strip() for part in text.split(",")}
    if not asked <= set(WRITABLE):
        raise InputError(f"{name}: expected some of {','.join(WRITABLE)}, got {shown(text)}")
    return tuple(kind for kind in WRITABLE if kind in asked)


def check_intrinsics(values: Any, name: str = "intrinsics") -> tuple[float, ...]:
    """Return finite fx, fy, cx, cy with positive focal lengths, or raise `InputError`; `values` as of `check_box`."""
    intrinsics = _four_numbers(values)
    if intrinsics is None or min(intrinsics[:2]) <= 0:
        raise InputError(
            f"{name}: expected four finite numbers fx,fy,cx,cy in px with positive focal lengths, got {shown(values)}"
        )
    return intrinsics


def check_hand_length(value: Any) -> float:
    """Return a length of a hand in m, or raise `InputError`; `value`: a number, or its text."""
    return _metres(value, "hand length", HAND_LENGTH_RANGE_M)


def check_wrist_depth(value: Any) -> float:
    """Return a distance of a wrist in m, or raise `InputError`; `value`: a number, or its text."""
    return _metres(value, "wrist depth", WRIST_DEPTH_RANGE_M)


def _metres(value: Any, name: str, allowed: tuple[float, float]) -> float:
    numbers, (low, high) = finite_numbers([value], 1), allowed
    if numbers is None or not low <= numbers[0] <= high:
        raise InputError(f"{name}: expected metres from {low:g} to {high:g}, got {shown(value)}")
    return numbers[0]


def _four_numbers(values: Any) -> tuple[float, ...] | None:
    """Four finite numbers; None where `values` are none."""
    return finite_numbers(values.split(",") if isinstance(values, str) else values, 4)
