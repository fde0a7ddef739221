"""What `handdiff predict` does: image files in; for each hand a JSON, a GLB and a PNG file out."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.images import load_image

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline

_PIPELINE_ERRORS = (InputError, OSError, ValueError, RuntimeError)


@dataclass(frozen=True)
class PredictionSettings:
    """What the user asked for; None leaves it to the checkpoint.

    Attributes:
        out: folder of the results, made if it is missing.
        checkpoint: folder or Hub repository; None is the checkpoint that comes with the package.
        hand: "left" or "right"; None: what the detector says, or right.
        box: (x0, y0, x1, y1) px around the hand, for every image.
        boxes: box or None by image name, instead of `box`.
        detector: "builtin", "mediapipe", or None.
        detector_keypoints: use the detector's 2D keypoints instead of the built-in estimate.
        intrinsics: (fx, fy, cx, cy) px, for every image.
        num_hypotheses, seed, steps, mesh_steps, aggregation: as in the pipeline.
        save_vertices: also write an NPZ file with every array.
        device: where the networks run; None: a GPU if there is one.
    """

    out: Path
    checkpoint: str | None = None
    hand: str | None = None
    box: tuple[float, ...] | None = None
    boxes: dict[str, tuple[float, ...] | None] | None = None
    detector: str | None = None
    detector_keypoints: bool = False
    intrinsics: tuple[float, ...] | None = None
    num_hypotheses: int = 20
    seed: int = 0
    steps: int | None = None
    mesh_steps: int | None = None
    aggregation: str = "mean"
    save_vertices: bool = False
    device: str | None = None


@dataclass(frozen=True)
class HandToPredict:
    """One hand of an image.

    Attributes:
        box: (x0, y0, x1, y1) px around it, or None: the whole image is the crop.
        handedness: "left" or "right".
        keypoints: (21, 2) px that replace the built-in estimate, or None.
    """

    box: tuple[float, ...] | None
    handedness: str
    keypoints: np.ndarray | None = None


class CheckpointError(InputError):
    """The checkpoint cannot be loaded, so that no image can be done."""


def predict_files(paths: Sequence[str], settings: PredictionSettings) -> int:
    """Predict the hands of image files and write the results.

    An image that cannot be done costs one line on stderr; the others are still done.

    Args:
        paths: the image files.
        settings: what to do with them.

    Returns:
        How many images failed.

    Raises:
        InputError: the detector, the checkpoint or the output folder cannot be used at all.
    """
    _make_folder(settings.out)
    names = OutputNames(Path(path).stem for path in paths)
    find_hands = _hand_finder(settings)
    predictor = _Predictor(settings)
    failed = 0
    for path, write_line in _with_progress(paths):
        name = names.next_for(Path(path).stem)
        try:
            image = load_image(path, "images")
            hands = find_hands(path, image)
            for number, hand in enumerate(hands):
                hand_name = name if len(hands) == 1 else names.claim(f"{name}_{number}")
                for line in predictor.predict(image, hand, hand_name):
                    write_line(f"{path}: {line}")
        except CheckpointError:
            raise
        except _PIPELINE_ERRORS as error:
            failed += 1
            write_line(f"handdiff: error: {path}: {first_line(error)}", error=True)
        except Exception as error:  # a mistake of ours: show where it is, but do the other images
            failed += 1
            write_line(f"handdiff: error: {path}: unexpected {type(error).__name__}: {error}", error=True)
            write_line(traceback.format_exc(), error=True)
    return failed


def first_line(error: BaseException) -> str:
    """Return an error's message as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def load_boxes(path: str) -> dict[str, tuple[float, ...] | None]:
    """Read a JSON file that maps image names to boxes [x0, y0, x1, y1], or null for the whole image.

    Raises:
        InputError: the file is missing, no JSON, or maps a name to something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--boxes: '{path}' cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"--boxes: '{path}' is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise InputError(
            f"--boxes: '{path}' holds a {type(content).__name__}; expected an object that maps "
            "image names to [x0, y0, x1, y1]"
        )
    return {name: None if box is None else check_box(box, f"--boxes: '{name}'") for name, box in content.items()}


def check_box(values: Any, name: str) -> tuple[float, ...]:
    """Return four finite numbers x0 < x1, y0 < y1, or raise `InputError`."""
    try:
        box = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        box = ()
    if len(box) != 4 or not np.isfinite(box).all():
        raise InputError(f"{name}: expected four numbers x0,y0,x1,y1 in px, got {values!r}")
    if not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(f"{name}: expected x0 < x1 and y0 < y1, got a box without pixels: {values!r}")
    return box


def check_intrinsics(values: Any, name: str) -> tuple[float, ...]:
    """Return fx, fy, cx, cy, finite and with positive focal lengths, or raise `InputError`."""
    try:
        intrinsics = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        intrinsics = ()
    if len(intrinsics) != 4 or not np.isfinite(intrinsics).all() or min(intrinsics[:2]) <= 0:
        raise InputError(
            f"{name}: expected four finite numbers fx,fy,cx,cy in px with positive focal lengths, got {values!r}"
        )
    return intrinsics


class OutputNames:
    """Hands out names of result files, so that no two results of a run share one.

    Two images called ``hand.jpg`` in different folders become ``hand`` and ``hand-2``.

    Args:
        stems: the names of all images of the run; they are kept free for them.
    """

    def __init__(self, stems: Iterable[str]):
        self._reserved = {stem.casefold() for stem in stems}
        self._used: set[str] = set()

    def next_for(self, stem: str) -> str:
        """Return a name for an image called `stem`."""
        if stem.casefold() not in self._used:
            self._used.add(stem.casefold())
            return stem
        return self._numbered(stem)

    def claim(self, name: str) -> str:
        """Return a name for a further result, that is no image's own."""
        if name.casefold() not in self._used | self._reserved:
            self._used.add(name.casefold())
            return name
        return self._numbered(name)

    def _numbered(self, name: str) -> str:
        number = 2
        while f"{name}-{number}".casefold() in self._used | self._reserved:
            number += 1
        self._used.add(f"{name}-{number}".casefold())
        return f"{name}-{number}"


# ------------------------------------------------------------------------------------- which hands


def _hand_finder(settings: PredictionSettings) -> Callable[[str, np.ndarray], list[HandToPredict]]:
    """Return the function that says which hands of an image are to be done."""
    side = settings.hand or "right"
    if settings.detector is not None:
        return _detecting_finder(settings)
    if settings.boxes is not None:
        return lambda path, image: [HandToPredict(_named_box(settings.boxes, path), side)]
    return lambda path, image: [HandToPredict(settings.box, side)]


def _detecting_finder(settings: PredictionSettings) -> Callable[[str, np.ndarray], list[HandToPredict]]:
    detector = _load_detector(settings)

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


def _load_detector(settings: PredictionSettings):
    from hf_handdiff import detection

    if settings.detector == "mediapipe":
        return detection.MediaPipeHandDetector()
    # a checkpoint without a detector, or one on the Hub, is served by the detector that comes with the package
    own = settings.checkpoint is not None and (Path(settings.checkpoint) / "hand_detector").is_dir()
    return detection.BuiltinHandDetector(detection.load_hand_detector(settings.checkpoint if own else None))


def _named_box(boxes: dict[str, tuple[float, ...] | None], path: str) -> tuple[float, ...] | None:
    for key in (str(path), Path(path).name, Path(path).stem):
        if key in boxes:
            return boxes[key]
    raise InputError(f"--boxes: there is no entry '{Path(path).name}'; null stands for the whole image")


# ------------------------------------------------------------------------------------- predicting, writing


class _Predictor:
    """The pipeline, loaded when the first good image comes, and the writing of what it returns."""

    def __init__(self, settings: PredictionSettings):
        from hf_handdiff import DEFAULT_CHECKPOINT

        self._settings = settings
        self._checkpoint = settings.checkpoint or DEFAULT_CHECKPOINT
        self._pipeline = None

    def predict(self, image: np.ndarray, hand: HandToPredict, name: str) -> list[str]:
        """Write the results of one hand; return lines for the user."""
        from hf_handdiff.viz import draw_overlay, place_prediction, write_glb

        settings = self._settings
        intrinsics = _camera_matrix(settings.intrinsics)
        output = self._load()(
            image,
            handedness=hand.handedness,
            boxes=None if hand.box is None else np.array([hand.box]),
            keypoints_2d=None if hand.keypoints is None else hand.keypoints[None],
            intrinsics=None if intrinsics is None else intrinsics[None],
            num_hypotheses=settings.num_hypotheses,
            num_inference_steps=settings.steps,
            num_mesh_inference_steps=settings.mesh_steps,
            aggregation=settings.aggregation,
            generator=settings.seed,
            output_type="np",
        )
        placed = place_prediction(image.shape[:2], output, 0, hand.handedness, intrinsics, hand.box)
        with replace_file(settings.out / f"{name}.png") as temporary:
            draw_overlay(image, placed).save(temporary)
        write_glb(
            settings.out / f"{name}.glb",
            output.mean_vertices[0],
            output.faces,
            output.vertices[0],
            output.mean_joints[0],
            output.joint_std[0],
        )
        record = prediction_record(output, hand, image.shape[:2], settings.seed, str(self._checkpoint))
        suffixes = "json, glb, png"
        if settings.save_vertices:
            with replace_file(settings.out / f"{name}.npz") as temporary:
                np.savez_compressed(temporary, **_npz_arrays(record, output))
            suffixes += ", npz"
        # the JSON comes last: where it is, all of the results are
        with replace_file(settings.out / f"{name}.json") as temporary:
            temporary.write_text(record_as_json(record) + "\n")
        return _report(record, hand.box is None, settings.out / name, suffixes)

    def _load(self):
        if self._pipeline is None:
            self._pipeline = load_pipeline(self._checkpoint, self._settings.device)
        return self._pipeline


def prediction_record(
    output: Any, hand: HandToPredict, image_size: tuple[int, int], seed: int, checkpoint: str
) -> dict[str, Any]:
    """Return the content of NAME.json, arrays still as numpy arrays; 3D is wrist-relative, in camera axes.

    `box_px` is the image's own where the whole image was the crop; `translation_m` is None without intrinsics.
    """
    height, width = image_size
    return {
        "joints_m": output.joints[0],
        "joint_hypotheses_m": output.joint_hypotheses[0],
        "mean_joints_m": output.mean_joints[0],
        "joint_std_m": output.joint_std[0],
        "mean_vertices_m": output.mean_vertices[0],
        "keypoints_2d_px": output.keypoints_2d[0],
        "keypoint_scores": output.keypoint_scores[0],
        "translation_m": None if output.translation is None else output.translation[0],
        "hand_score": float(output.hand_score[0]),
        "handedness": hand.handedness,
        "box_px": [0.0, 0.0, float(width), float(height)] if hand.box is None else list(hand.box),
        "seed": seed,
        "checkpoint": checkpoint,
    }


def record_as_json(record: dict[str, Any]) -> str:
    """Return a prediction record as one line of JSON: arrays as nested lists, NaN as null."""
    return json.dumps(_jsonable(record), allow_nan=False, separators=(",", ":"))


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


def _npz_arrays(record: dict[str, Any], output: Any) -> dict[str, np.ndarray]:
    arrays = {key: np.asarray(value) for key, value in record.items() if value is not None}
    return {**arrays, "vertices_m": output.vertices[0], "faces": np.asarray(output.faces)}


def _jsonable(value: Any) -> Any:
    """Turn arrays into nested lists, rounded to 7 decimals, NaN into null."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = np.round(value.astype(np.float64), 7).tolist()
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _camera_matrix(intrinsics: tuple[float, ...] | None) -> np.ndarray | None:
    if intrinsics is None:
        return None
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def load_pipeline(checkpoint: str | None = None, device: str | None = None) -> CascadedHandPipeline:
    """Load the cascade without progress bars, for a command.

    Args:
        checkpoint: folder or Hub repository; None is the checkpoint that comes with the package.
        device: where the networks run; None: a GPU if there is one.

    Raises:
        CheckpointError: one line that says what is wrong with the checkpoint.
    """
    import diffusers
    import torch
    import transformers

    from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline

    checkpoint = DEFAULT_CHECKPOINT if checkpoint is None else str(checkpoint)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    looks_like_a_path = checkpoint.count("/") != 1 or checkpoint.startswith((".", "/", "~"))
    if looks_like_a_path and not Path(checkpoint).is_dir():
        raise CheckpointError(
            f"--checkpoint: there is no folder '{checkpoint}'; expected a checkpoint "
            "folder or a Hub repository owner/name"
        )
    try:
        pipeline = CascadedHandPipeline.from_pretrained(checkpoint)
        pipeline.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except _PIPELINE_ERRORS as error:
        message = f"--checkpoint: '{checkpoint}' cannot be loaded: {first_line(error)}"
        raise CheckpointError(message) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: '{folder}' cannot be made a folder ({error.strerror})") from None


def _with_progress(paths: Sequence[str]):
    """Yield (path, function that writes a line), with a progress bar where there are several images."""
    from tqdm import tqdm

    def write_line(line: str, error: bool = False) -> None:
        warning = error or ": warning: " in line
        tqdm.write(line, file=sys.stderr if warning else sys.stdout)

    for path in tqdm(paths, desc="images", unit="image", disable=len(paths) < 2, file=sys.stderr):
        yield path, write_line
