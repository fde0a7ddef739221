"""From a photo and what the visitor asked for to the answer: pure functions, nothing of the page."""

from __future__ import annotations

import dataclasses
import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from hf_handdiff.errors import InputError
from hf_handdiff.export.records import HandToPredict, prediction_record
from hf_handdiff.hand.topology import JOINT_NAMES
from hf_handdiff.images import load_image, open_image
from hf_handdiff.models.hand_search import BuiltinHandDetector
from hf_handdiff.pipelines.defaults import DEFAULT_AGGREGATION, NUM_HYPOTHESES
from hf_handdiff.pipelines.doubts import LOW_AGREEMENT
from hf_handdiff.pipelines.hand_side import LOW_SIDE_SCORE
from hf_handdiff.viz import PlacedHand, place_prediction, rig_of_output
from hf_handdiff.viz.overlay import LOW_HAND_SCORE
from hf_handdiff.viz.rig import HandRig

MOST_MEGAPIXELS = 60
"""Larger photos are refused: reading them takes longer than the answer."""
"""What is read, by Pillow's names."""
FARTHEST_PX = 10_000
"""Keypoints lie within this many pixels of the working photo's corner."""
_UNREADABLE = (InputError, OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error)
WORKING_SIZE = 1600
"""Longer side, px, to which larger photos are brought: the networks see 224 px of a hand."""


EDITED_STD_PX = 1.0
"""How far off a point may be that a visitor has placed."""


@dataclass(frozen=True)
class Photo:
    """A photo as it is worked on.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright, the longer side at most `WORKING_SIZE`.
        scale: px of `pixels` for each px of the visitor's file.
    """

    pixels: np.ndarray
    scale: float


@dataclass(frozen=True)
class Settings:
    """What the visitor asked for.

    Attributes:
        side: "detect", "right" or "left".
        num_hypotheses: hands to sample.
        steps: denoising steps of stage 1; None: what the checkpoint was tuned for.
        mesh_steps: those of stage 2; None likewise.
        seed: the same seed gives the same hypotheses.
        aggregation: how one answer is made of them, see `CascadedHandPipeline`.
        checkpoint: what the JSON file calls the weights.
    """

    side: str = "detect"
    num_hypotheses: int = NUM_HYPOTHESES
    steps: int | None = None
    mesh_steps: int | None = None
    seed: int = 0
    aggregation: str = DEFAULT_AGGREGATION
    checkpoint: str = "base"


@dataclass(frozen=True)
class Keypoints:
    """The 2D points of a hand.

    Attributes:
        points: (21, 2) px of the working photo, NaN where not seen.
        scores: (21,) 0..1.
        covariances: (21, 2, 2) px², how far off they may be; None: the scores tell.
        edited: whether they are the visitor's; else the pipeline finds them again by itself.
    """

    points: np.ndarray
    scores: np.ndarray
    covariances: np.ndarray | None = None
    edited: bool = False

    def moved(self, joint: int, x: float, y: float) -> Keypoints:
        """The same with one joint at (x, y) px, and sure of it."""
        return self._changed(joint, (x, y), 1.0)

    def hidden(self, joint: int) -> Keypoints:
        """The same with one joint not seen."""
        return self._changed(joint, (np.nan, np.nan), 0.0)

    def _changed(self, joint: int, point: tuple[float, float], score: float) -> Keypoints:
        points, scores, covariances = self.points.copy(), self.scores.copy(), self.covariances
        points[joint], scores[joint] = point, score
        if covariances is not None:
            covariances = covariances.copy()
            covariances[joint] = EDITED_STD_PX**2 * np.eye(2)
        return Keypoints(points, scores, covariances, edited=True)

    def arguments(self) -> dict[str, np.ndarray]:
        """What the pipeline is told of them."""
        if not self.edited:
            return {}
        if self.covariances is None:
            return {"keypoints_2d": self.points[None], "keypoint_scores": self.scores[None]}
        return {"keypoints_2d": self.points[None], "keypoint_cov": self.covariances[None]}


@dataclass(frozen=True)
class Answer:
    """What there is to show of one hand.

    Attributes:
        output: of `CascadedHandPipeline`, one hand.
        placed: the same before the camera of the working photo, for drawing.
        rig: of the answer, or None where it has no parameters.
        keypoints: the 2D points that were used.
        region90: (21,) m, the radius round each joint of the answer that holds the true one in nine of ten cases.
        record: the content of the JSON file; its pixels are those of the visitor's file.
        warning: what the visitor should know, or "".
    """

    output: Any
    placed: PlacedHand
    rig: HandRig | None
    keypoints: Keypoints
    region90: np.ndarray
    record: dict[str, Any]
    warning: str


def load_photo(source: str | bytes | None) -> Photo:
    """Read a visitor's file, or its content; how many pixels it has is looked at before any of them is decoded.

    Raises:
        InputError: there is none, it is no image, or it is too large.
    """
    if source is None or source == "":
        raise InputError("There is no photo yet: upload one, take one with the webcam, or pick an example.")
    width, height = _file_size(source)
    if width * height > 1e6 * MOST_MEGAPIXELS:
        raise _too_large(f"{width} × {height} px")
    try:
        with _open(source) as image:
            image.draft("RGB", (WORKING_SIZE, WORKING_SIZE))  # JPEG files are decoded at a part of their size
            pixels = load_image(_within_working_size(image))
    except _UNREADABLE:
        raise _unreadable() from None
    return Photo(pixels, max(pixels.shape[:2]) / max(width, height))


def photo_of_frame(pixels: np.ndarray) -> Photo:
    """A webcam's frame, (H, W, 3) uint8 RGB, as a photo; `load_photo` has limited its size."""
    return Photo(load_image(pixels), 1.0)


def find_hands(pipeline, photo: Photo, side: str) -> list[HandToPredict]:
    """Find the hands of a photo, largest first.

    Args:
        pipeline: a cascade with a hand detector.
        photo: where to look.
        side: "detect": the detector also tells the sides; "right" or "left": all are of that side, and where it finds
            none, the whole photo is taken for a hand.

    Raises:
        InputError: the detector was asked and finds none.
    """
    found = BuiltinHandDetector(pipeline.hand_detector).detect(photo.pixels)
    if not found and side == "detect":
        raise InputError(
            "No hand was found in this photo. If one fills the picture, say which hand it is: Right or Left."
        )
    hands = [
        HandToPredict(tuple(float(value) for value in hand.box), hand.handedness if side == "detect" else side)
        for hand in found
    ]
    return hands or [HandToPredict(None, side)]


def answer_hand(
    pipeline, photo: Photo, hand: HandToPredict, settings: Settings, keypoints: Keypoints | None = None
) -> Answer:
    """Sample the hypotheses of one hand.

    Args:
        pipeline: the cascade.
        photo: the photo.
        hand: where the hand is in it.
        settings: what was asked for.
        keypoints: 2D points that replace the built-in estimate, or None.

    Raises:
        InputError: a setting is out of range, there are fewer than two keypoints, or there is no hand.
    """
    box = None if hand.box is None else np.array([hand.box])
    output = pipeline(
        photo.pixels,
        handedness=hand.handedness,
        boxes=box,
        **({} if keypoints is None else keypoints.arguments()),
        num_hypotheses=settings.num_hypotheses,
        num_inference_steps=settings.steps,
        num_mesh_inference_steps=settings.mesh_steps,
        aggregation=settings.aggregation,
        generator=settings.seed,
    )
    score = float(output.hand_score[0])
    if hand.box is None and keypoints is None and not score >= LOW_HAND_SCORE:
        raise InputError(f"No hand was found in this photo (hand score {score:.2f}).")
    placed = place_prediction(photo.pixels.shape[:2], output, 0, hand.handedness, None, hand.box)
    return Answer(
        output=output,
        placed=placed,
        rig=rig_of_output(pipeline, output, 0),
        keypoints=Keypoints(
            output.keypoints_2d[0].astype(np.float64),
            output.keypoint_scores[0].astype(np.float64),
            output.keypoint_cov[0].astype(np.float64),
            edited=keypoints is not None and keypoints.edited,
        ),
        region90=pipeline.joint_region(output.joint_std, 0.9)[0].numpy(),
        record=_record(photo, hand, settings, output),
        warning=_doubt(output, hand.handedness),
    )


def _doubt(output: Any, side: str) -> str:
    """What a visitor should know before believing an answer, or nothing."""
    score, right_side = float(output.hand_score[0]), float(output.side_score[0])
    if not score >= LOW_HAND_SCORE:
        return f"Hand score {score:.2f} is low: perhaps this is no hand."
    if right_side < LOW_SIDE_SCORE:
        return f"This looks like a {'right' if side == 'left' else 'left'} hand (side score {right_side:.2f})."
    if float(output.keypoint_agreement[0]) < LOW_AGREEMENT:
        return "Most keypoints lie elsewhere than the photo shows them."
    return ""


def keypoint_rows(keypoints: Keypoints) -> list[list[Any]]:
    """The keypoints as rows of a table: joint, x px, y px, score; x and y are None where not seen."""
    rows = []
    for name, (x, y), score in zip(JOINT_NAMES, keypoints.points.tolist(), keypoints.scores.tolist(), strict=True):
        seen = np.isfinite([x, y]).all()
        rows.append([name, round(x, 1) if seen else None, round(y, 1) if seen else None, round(score, 2)])
    return rows


def keypoints_of_rows(rows: list[list[Any]], before: Keypoints) -> Keypoints:
    """Read an edited table.

    Args:
        rows: as `keypoint_rows` makes them; a joint without x or y is not seen.
        before: the keypoints that were shown. Rows that were not touched keep their exact numbers, points that were
            moved become sure.

    Raises:
        InputError: a row is missing or short, or a cell is no number of pixels.
    """
    if len(rows) != len(JOINT_NAMES):
        raise InputError(f"The table of keypoints needs its {len(JOINT_NAMES)} rows, but has {len(rows)}.")
    changed = before
    for joint, (row, shown) in enumerate(zip(rows, keypoint_rows(before), strict=True)):
        if not isinstance(row, (list, tuple)) or len(row) < 3:
            raise InputError(f"Keypoint {JOINT_NAMES[joint]}: expected a row of joint, x, y and score.")
        x, y = (_number(value, JOINT_NAMES[joint]) for value in row[1:3])
        if (x, y) == tuple(shown[1:3]):
            continue
        changed = changed.hidden(joint) if x is None or y is None else changed.moved(joint, x, y)
    return changed


def _number(value: Any, joint: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(
            f"Keypoint {joint}: expected a number of pixels, or nothing, but got “{str(value)[:40]}”."
        ) from None
    except OverflowError:
        number = np.inf
    if abs(number) > FARTHEST_PX:
        raise InputError(f"Keypoint {joint}: expected pixels from {-FARTHEST_PX} to {FARTHEST_PX}.")
    return None if np.isnan(number) else number


def _record(photo: Photo, hand: HandToPredict, settings: Settings, output) -> dict[str, Any]:
    """The content of the JSON file, in pixels of the visitor's file."""
    record = prediction_record(output, 0, hand, photo.pixels.shape[:2], settings.seed, settings.checkpoint)
    record["keypoints_2d_px"] = record["keypoints_2d_px"] / photo.scale
    record["box_px"] = [value / photo.scale for value in record["box_px"]]
    return record | {"settings": dataclasses.asdict(settings)}


def _file_size(source: str | bytes) -> tuple[int, int]:
    """Width and height of an image file, px, without decoding it."""
    try:
        with _open(source) as image:
            return image.size
    except Image.DecompressionBombError:
        raise _too_large("too many pixels to be opened safely") from None
    except FileNotFoundError:
        raise InputError("This photo is no longer on the server: upload it again.") from None
    except _UNREADABLE:
        raise _unreadable() from None


def _open(source: str | bytes) -> Image.Image:
    return open_image(io.BytesIO(source) if isinstance(source, bytes) else source)


def _within_working_size(image: Image.Image) -> Image.Image:
    """The image, upright, its longer side at most `WORKING_SIZE`."""
    upright = ImageOps.exif_transpose(image)
    if max(upright.size) > WORKING_SIZE:
        upright.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.LANCZOS)
    return upright


def _too_large(size: str) -> InputError:
    return InputError(f"This photo is too large: {size}; at most {MOST_MEGAPIXELS} megapixels can be read here.")


def _unreadable() -> InputError:
    return InputError("This file cannot be read as a photo: expected a JPEG, PNG or WebP image.")
