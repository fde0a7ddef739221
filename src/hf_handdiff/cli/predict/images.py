"""The hands of images: found, sampled, and written as NAME.json, NAME.glb, NAME.png and NAME.npz."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.cli.predict.files import make_folder, with_suffix
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.errors import InputError
from hf_handdiff.export.records import HandToPredict, prediction_arrays, prediction_record, record_as_json
from hf_handdiff.files import replace_file

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline

_PNG_COMPRESSION = 1
"""Of zlib: files a fifth larger than by its default, in a third of the time."""

FindHands = Callable[[str, np.ndarray], list[HandToPredict]]


def hand_finder(settings: PredictionSettings) -> FindHands:
    """The function that says which hands of an image are to be done: path, (H, W, 3) uint8 RGB -> hands."""
    if settings.detector is None:
        return lambda path, image: [HandToPredict(settings.for_file(path).box, settings.side)]
    detector = load_detector(settings)

    def find(path: str, image: np.ndarray) -> list[HandToPredict]:
        found = detector.detect(image)
        if not found:
            raise InputError("the detector found no hand; give its place with --box x0,y0,x1,y1")
        return [
            HandToPredict(
                box=tuple(float(value) for value in hand.box),
                handedness=settings.hand or hand.handedness,
                keypoints=hand.keypoints if settings.detector_keypoints else None,
            )
            for hand in found
        ]

    return find


def load_detector(settings: PredictionSettings) -> Any:
    """The detector that the settings name.

    A checkpoint without a detector, or one on the Hub, is served by the detector that comes with the package.
    """
    from hf_handdiff.models import hand_search, mediapipe_hands

    if settings.detector == "mediapipe":
        return mediapipe_hands.MediaPipeHandDetector()
    own = settings.checkpoint is not None and (Path(settings.checkpoint) / "hand_detector").is_dir()
    return hand_search.BuiltinHandDetector(hand_search.load_hand_detector(settings.checkpoint if own else None))


def sample_hands(
    pipeline: CascadedHandPipeline, hands: list[tuple[np.ndarray, HandToPredict]], settings: PredictionSettings
) -> Any:
    """The pipeline's output for hands, each with the (H, W, 3) image that it is in."""
    images, keypoints = [image for image, _ in hands], [hand.keypoints for _, hand in hands]
    cameras = [settings.camera_of(image) for image in images]
    return pipeline(
        images if len(hands) > 1 else images[0],
        handedness=[hand.handedness for _, hand in hands],
        boxes=_boxes(hands),
        keypoints_2d=None if keypoints[0] is None else np.stack(keypoints),
        intrinsics=None if cameras[0] is None else np.stack(cameras),
        output_type="np",
        fit="all" if settings.scene else None,
        **settings.of_sampling(),
    )


def _boxes(hands: list[tuple[np.ndarray, HandToPredict]]) -> np.ndarray | None:
    """The boxes (B, 4) px of hands; None: all of them fill their images."""
    from hf_handdiff.camera import box_of_whole_image

    if all(hand.box is None for _, hand in hands):
        return None
    return np.array([box_of_whole_image(*image.shape[:2]) if hand.box is None else hand.box for image, hand in hands])


def write_hand(
    pipeline: CascadedHandPipeline,
    output: Any,
    index: int,
    image: np.ndarray,
    hand: HandToPredict,
    name: str,
    settings: PredictionSettings,
) -> list[str]:
    """Write the results of one hand of an output; the JSON comes last: where it is, all of them are.

    Args:
        pipeline: what answered.
        output: of `sample_hands`.
        index: which hand of it.
        image: (H, W, 3) uint8 RGB.
        hand: as it was asked for.
        name: of the results, below `settings.out`.
        settings: what the user asked for.

    Returns:
        Lines for the user.
    """
    from hf_handdiff import DEFAULT_CHECKPOINT

    stem = settings.out / name
    make_folder(stem.parent)
    checkpoint = settings.checkpoint or DEFAULT_CHECKPOINT
    record = prediction_record(output, index, hand, image.shape[:2], settings.seed, checkpoint)
    if "png" in settings.write:
        _write_overlay(stem, output, index, image, hand, settings)
    if "glb" in settings.write:
        _write_meshes(stem, pipeline, output, index)
    if settings.save_vertices:
        with replace_file(with_suffix(stem, "npz")) as temporary:
            np.savez_compressed(temporary, **prediction_arrays(record, output, index))
    if "json" in settings.write:
        with replace_file(with_suffix(stem, "json")) as temporary:
            temporary.write_text(record_as_json(record) + "\n")
    suffixes = [*settings.write, *(["npz"] if settings.save_vertices else [])]
    written = f"{stem}.{{{', '.join(suffixes)}}}" if len(suffixes) > 1 else f"{stem}.{suffixes[0]}"
    return _report(record, hand.box is None, written)


def last_written(settings: PredictionSettings) -> str:
    """The suffix of the result of a hand that is there when all of them are."""
    return next(kind for kind in ("json", "glb", "png") if kind in settings.write)


def _write_overlay(
    stem: Path, output: Any, index: int, image: np.ndarray, hand: HandToPredict, settings: PredictionSettings
) -> None:
    from hf_handdiff.viz import draw_overlay, place_prediction

    placed = place_prediction(image.shape[:2], output, index, hand.handedness, settings.camera_of(image), hand.box)
    with replace_file(with_suffix(stem, "png")) as temporary:
        draw_overlay(image, placed).save(temporary, compress_level=_PNG_COMPRESSION)


def _write_meshes(stem: Path, pipeline: CascadedHandPipeline, output: Any, index: int) -> None:
    from hf_handdiff.viz import rig_of_output, write_glb

    write_glb(
        with_suffix(stem, "glb"),
        output.mean_vertices[index],
        output.faces,
        output.vertices[index],
        output.mean_joints[index],
        output.joint_std[index],
        rig_of_output(pipeline, output, index),
    )


def _report(record: dict[str, Any], whole_image: bool, written: str) -> list[str]:
    from hf_handdiff.pipelines.hand_side import LOW_SIDE_SCORE
    from hf_handdiff.viz.overlay import LOW_HAND_SCORE

    error_mm = 1000.0 * float(np.mean(record["joint_std_m"]))
    score = record["hand_score"]
    lines = [f"{record['handedness']} hand, score {score:.2f}, expected error {error_mm:.1f} mm a joint -> {written}"]
    if not score >= LOW_HAND_SCORE:
        where = "the whole image" if whole_image else "the box"
        hint = "; give its place with --box or --detector builtin" if whole_image else ""
        lines.append(f"warning: hand score {score:.2f} is low: perhaps there is no hand in {where}{hint}")
    elif record["side_score"] < LOW_SIDE_SCORE:
        other = "right" if record["handedness"] == "left" else "left"
        score = record["side_score"]
        lines.append(f"warning: side score {score:.2f} is low: perhaps it is a {other} hand; then say --hand {other}")
    return lines
