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

FindHands = Callable[[str, np.ndarray], list[HandToPredict]]


def hand_finder(settings: PredictionSettings) -> FindHands:
    """The function that says which hands of an image are to be done: path, (H, W, 3) uint8 -> hands."""
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
        image: (H, W, 3) uint8.
        hand: as it was asked for.
        name: of the results, below `settings.out`.
        settings: what the user asked for.

    Returns:
        Lines for the user.
    """
    from hf_handdiff import DEFAULT_CHECKPOINT
    from hf_handdiff.viz import draw_overlay, place_prediction, rig_of_output, write_glb

    stem = settings.out / name
    make_folder(stem.parent)
    placed = place_prediction(image.shape[:2], output, index, hand.handedness, settings.camera_of(image), hand.box)
    with replace_file(with_suffix(stem, "png")) as temporary:
        draw_overlay(image, placed).save(temporary)
    write_glb(
        with_suffix(stem, "glb"),
        output.mean_vertices[index],
        output.faces,
        output.vertices[index],
        output.mean_joints[index],
        output.joint_std[index],
        rig_of_output(pipeline, output, index),
    )
    checkpoint = settings.checkpoint or DEFAULT_CHECKPOINT
    record = prediction_record(output, index, hand, image.shape[:2], settings.seed, checkpoint)
    suffixes = "json, glb, png"
    if settings.save_vertices:
        with replace_file(with_suffix(stem, "npz")) as temporary:
            np.savez_compressed(temporary, **prediction_arrays(record, output, index))
        suffixes += ", npz"
    with replace_file(with_suffix(stem, "json")) as temporary:
        temporary.write_text(record_as_json(record) + "\n")
    return _report(record, hand.box is None, stem, suffixes)


def write_scene(
    pipeline: CascadedHandPipeline, output: Any, rows: range, image: np.ndarray, name: str, settings: PredictionSettings
) -> list[str]:
    """Write NAME.glb and, at last, NAME.json with all hands of an image, see `hf_handdiff.scene`.

    Args:
        pipeline: what answered.
        output: of `sample_hands`.
        rows: which hands of it are in the image.
        image: (H, W, 3) uint8.
        name: of the results, below `settings.out`.
        settings: what the user asked for.

    Returns:
        Lines for the user.
    """
    from hf_handdiff.export.scene_records import scene_record, write_scene_file
    from hf_handdiff.scene import make_scene
    from hf_handdiff.scene.contact import TOLERANCE_M

    stem = settings.out / name
    make_folder(stem.parent)
    scene = make_scene(pipeline, output, settings.camera_of(image), rows, settings.hand_length)
    write_scene_file(with_suffix(stem, "glb"), pipeline, scene)
    with replace_file(with_suffix(stem, "json")) as temporary:
        temporary.write_text(record_as_json(scene_record(scene)) + "\n")
    lines = [f"{len(scene.hands)} hand{'s' * (len(scene.hands) != 1)} in one scene -> {stem}.{{json, glb}}"]
    lines += [
        f"warning: hands {' and '.join(map(str, pair.hands))} of the scene go {1000 * pair.penetration:.0f} mm into "
        "each other: no likely pair that does not was found"
        for pair in scene.contacts
        if pair.penetration > TOLERANCE_M
    ]
    return lines


def _report(record: dict[str, Any], whole_image: bool, stem: Path, suffixes: str) -> list[str]:
    from hf_handdiff.viz.overlay import LOW_HAND_SCORE

    error_mm = 1000.0 * float(np.mean(record["joint_std_m"]))
    score = record["hand_score"]
    lines = [
        f"{record['handedness']} hand, score {score:.2f}, expected error {error_mm:.1f} mm a joint -> "
        f"{stem}.{{{suffixes}}}"
    ]
    if not score >= LOW_HAND_SCORE:
        where = "the whole image" if whole_image else "the box"
        hint = "; give its place with --box or --detector builtin" if whole_image else ""
        lines.append(f"warning: hand score {score:.2f} is low: perhaps there is no hand in {where}{hint}")
    return lines
