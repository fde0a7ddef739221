"""What `handdiff predict` does: image files in; for each hand a JSON, a GLB and a PNG file out.

Images are done in batches, videos one by one (`video.predicting`), both by any number of processes.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.cli.predict_inputs import InputFile, Manifest, OutputNames, find_inputs
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.processes import ALL_OF_IT, ProcessShare
from hf_handdiff.files import remove_leftovers, replace_file
from hf_handdiff.images import load_image
from hf_handdiff.json_files import finite_numbers, read_json_object, shown
from hf_handdiff.public import public_checkpoint

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
        batch_size: hands that go through the networks together; None: 8 on a GPU, 1 on a CPU, where batches gain
            little and single images keep their answers to the last bit.
        resume: leave out what an earlier run with the same settings has done.
        detect_every: frames of a video between two looks of the detector.
        lookahead: frames of a video that an answer waits for.
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
    batch_size: int | None = None
    resume: bool = False
    detect_every: int = 15
    lookahead: int = 4

    def of_answers(self) -> dict[str, Any]:
        """Those on which the answers depend, for comparing two runs."""
        others = {"out", "device", "batch_size", "resume"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}


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


def predict_files(
    paths: Sequence[str], settings: PredictionSettings, share: ProcessShare = ALL_OF_IT
) -> tuple[int, int]:
    """Predict the hands of image files, videos and folders of them, and write the results.

    A file that cannot be done costs one line on stderr; the others are still done.

    Args:
        paths: the files and folders.
        settings: what to do with them.
        share: the files that are done here, where several processes run this.

    Returns:
        How many files failed, and how many there were to do, here.

    Raises:
        InputError: the detector, the checkpoint or the output folder cannot be used at all.
    """
    _make_folder(settings.out)
    files, names = find_inputs(paths, settings.out)
    manifest = Manifest(settings.out, settings.of_answers(), share.index)
    if share.is_main:
        for folder in {(settings.out / file.name).parent for file in files}:
            remove_leftovers(folder)
        (manifest.renew if settings.resume else manifest.forget)(files)
    share.wait()
    own = [file for number, file in enumerate(files) if share.is_assigned(number)]
    done = manifest.done(own) if settings.resume else set()
    if done:
        print(f"handdiff: {len(done)} of {len(own)} files are done already")
    run = _Run(settings, names, manifest if len(files) > 1 or settings.resume else None)
    for file, write_line in _with_progress([file for file in own if file.name not in done], share.is_main):
        run.take(file, write_line)
    run.finish()
    share.wait()  # a launcher ends all processes when one of them ends with a failure
    return run.failed, len(own)


def first_line(error: BaseException) -> str:
    """Return an error's message as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def load_boxes(path: str) -> dict[str, tuple[float, ...] | None]:
    """Read a JSON file that maps image names to boxes [x0, y0, x1, y1], or null for the whole image.

    Raises:
        InputError: the file is missing, too large, no JSON, or maps a name to something else.
    """
    content = read_json_object(path, "--boxes", "that maps image names to [x0, y0, x1, y1]")
    return {name: None if box is None else check_box(box, f"--boxes: {shown(name)}") for name, box in content.items()}


def check_box(values: Any, name: str) -> tuple[float, ...]:
    """Return four finite numbers x0 < x1, y0 < y1, or raise `InputError`."""
    box = finite_numbers(values, 4)
    if box is None:
        raise InputError(f"{name}: expected four numbers x0,y0,x1,y1 in px, got {shown(values)}")
    if not (box[2] > box[0] and box[3] > box[1]):
        raise InputError(f"{name}: expected x0 < x1 and y0 < y1, got a box without pixels: {shown(values)}")
    return box


def check_intrinsics(values: Any, name: str) -> tuple[float, ...]:
    """Return fx, fy, cx, cy, finite and with positive focal lengths, or raise `InputError`."""
    intrinsics = finite_numbers(values, 4)
    if intrinsics is None or min(intrinsics[:2]) <= 0:
        raise InputError(
            f"{name}: expected four finite numbers fx,fy,cx,cy in px with positive focal lengths, got {shown(values)}"
        )
    return intrinsics


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
    from hf_handdiff.models import hand_search, mediapipe_hands

    if settings.detector == "mediapipe":
        return mediapipe_hands.MediaPipeHandDetector()
    # a checkpoint without a detector, or one on the Hub, is served by the detector that comes with the package
    own = settings.checkpoint is not None and (Path(settings.checkpoint) / "hand_detector").is_dir()
    return hand_search.BuiltinHandDetector(hand_search.load_hand_detector(settings.checkpoint if own else None))


def _named_box(boxes: dict[str, tuple[float, ...] | None], path: str) -> tuple[float, ...] | None:
    for key in (str(path), Path(path).name, Path(path).stem):
        if key in boxes:
            return boxes[key]
    raise InputError(f"--boxes: there is no entry '{Path(path).name}'; null stands for the whole image")


# ------------------------------------------------------------------------------------- predicting, writing


WriteLine = Callable[..., None]


@dataclass(frozen=True)
class _LoadedImage:
    """An image that waits for its batch."""

    file: InputFile
    pixels: np.ndarray
    hands: list[HandToPredict]
    write_line: WriteLine


class _Run:
    """Takes files one by one; images wait until there are enough hands for a batch."""

    def __init__(self, settings: PredictionSettings, names: OutputNames, manifest: Manifest | None):
        self.failed = 0
        self._settings = settings
        self._names = names
        self._manifest = manifest
        self._predictor = _Predictor(settings)
        self._find_hands = _hand_finder(settings)
        self._waiting: list[_LoadedImage] = []
        on_cpu = default_device(settings.device) == "cpu"
        self._batch_size = settings.batch_size or (1 if on_cpu else 8)

    def take(self, file: InputFile, write_line: WriteLine) -> None:
        """Do a file, or keep it for the next batch."""
        if file.is_video:
            self.finish()
            with self._failures_of(file, write_line):
                self._predict_video(file, write_line)
            return
        with self._failures_of(file, write_line):
            pixels = load_image(file.path, "images")
            self._waiting.append(_LoadedImage(file, pixels, self._find_hands(file.path, pixels), write_line))
        if sum(len(image.hands) for image in self._waiting) >= self._batch_size:
            self.finish()

    def finish(self) -> None:
        """Do the images that wait: together, or one by one where one of them does not go through."""
        waiting, self._waiting = self._waiting, []
        output = None
        if len(waiting) > 1:
            with suppress(Exception):
                output = self._predictor.sample([(image.pixels, hand) for image in waiting for hand in image.hands])
        first = 0
        for image in waiting:
            with self._failures_of(image.file, image.write_line):
                self._write(image, output, first)
            first += len(image.hands)

    def _write(self, image: _LoadedImage, output: Any, first: int) -> None:
        """Write the answers for an image; its hands are those from `first` of the output, None: not sampled yet."""
        if output is None:
            output, first = self._predictor.sample([(image.pixels, hand) for hand in image.hands]), 0
        name, answers = image.file.name, []
        for number, hand in enumerate(image.hands):
            hand_name = name if len(image.hands) == 1 else self._names.claim(f"{name}_{number}")
            for line in self._predictor.write(output, first + number, image.pixels, hand, hand_name):
                image.write_line(f"{image.file.path}: {line}")
            answers.append(f"{hand_name}.json")
        self._add_to_manifest(image.file, answers)

    def _predict_video(self, file: InputFile, write_line: WriteLine) -> None:
        from hf_handdiff.cli.predict_videos import predict_video

        settings = self._settings
        if settings.detector_keypoints:
            raise InputError("--detector-keypoints: expected images, a video is followed by our own keypoints")
        if settings.boxes is not None:
            settings = replace(settings, box=_named_box(settings.boxes, file.path))
        detector = None if settings.detector is None else _load_detector(settings)
        lines = predict_video(file.path, file.name, self._predictor.pipeline, detector, settings)
        for line in lines:
            write_line(f"{file.path}: {line}")
        self._add_to_manifest(file, [f"{file.name}.jsonl", f"{file.name}.mp4"])

    def _add_to_manifest(self, file: InputFile, answers: list[str]) -> None:
        if self._manifest is not None:
            self._manifest.add(file, answers)

    @contextmanager
    def _failures_of(self, file: InputFile, write_line: WriteLine) -> Iterator[None]:
        """What goes wrong with a file is said and counted; only a bad checkpoint ends the run."""
        try:
            yield
        except CheckpointError:
            raise
        except _PIPELINE_ERRORS as error:
            self.failed += 1
            write_line(f"handdiff: error: {file.path}: {first_line(error)}", error=True)
        except Exception as error:  # a mistake of ours: show where it is, but do the other files
            self.failed += 1
            write_line(f"handdiff: error: {file.path}: unexpected {type(error).__name__}: {error}", error=True)
            write_line(traceback.format_exc(), error=True)


class _Predictor:
    """The pipeline, loaded when the first good image comes, and the writing of what it returns."""

    def __init__(self, settings: PredictionSettings):
        from hf_handdiff import DEFAULT_CHECKPOINT

        self._settings = settings
        self._checkpoint = settings.checkpoint or DEFAULT_CHECKPOINT
        self._pipeline = None

    @property
    def pipeline(self) -> CascadedHandPipeline:
        """The pipeline of the checkpoint."""
        if self._pipeline is None:
            self._pipeline = load_pipeline(self._checkpoint, self._settings.device)
        return self._pipeline

    def sample(self, hands: list[tuple[np.ndarray, HandToPredict]]) -> Any:
        """The pipeline's output for hands, each with the (H, W, 3) image that it is in."""
        settings, images = self._settings, [image for image, _ in hands]
        keypoints = [hand.keypoints for _, hand in hands]
        intrinsics = camera_matrix(settings.intrinsics)
        return self.pipeline(
            images if len(hands) > 1 else images[0],
            handedness=[hand.handedness for _, hand in hands],
            boxes=_boxes(hands),
            keypoints_2d=None if keypoints[0] is None else np.stack(keypoints),
            intrinsics=None if intrinsics is None else np.stack([intrinsics] * len(hands)),
            generator=settings.seed,
            **sampling_options(settings),
        )

    def write(self, output: Any, index: int, image: np.ndarray, hand: HandToPredict, name: str) -> list[str]:
        """Write the results of one hand of an output; return lines for the user."""
        from hf_handdiff.viz import draw_overlay, place_prediction, write_glb

        settings = self._settings
        stem = settings.out / name
        _make_folder(stem.parent)
        intrinsics = camera_matrix(settings.intrinsics)
        placed = place_prediction(image.shape[:2], output, index, hand.handedness, intrinsics, hand.box)
        with replace_file(with_suffix(stem, "png")) as temporary:
            draw_overlay(image, placed).save(temporary)
        write_glb(
            with_suffix(stem, "glb"),
            output.mean_vertices[index],
            output.faces,
            output.vertices[index],
            output.mean_joints[index],
            output.joint_std[index],
        )
        record = prediction_record(output, index, hand, image.shape[:2], settings.seed, str(self._checkpoint))
        suffixes = "json, glb, png"
        if settings.save_vertices:
            with replace_file(with_suffix(stem, "npz")) as temporary:
                np.savez_compressed(temporary, **_npz_arrays(record, output, index))
            suffixes += ", npz"
        # the JSON comes last: where it is, all of the results are
        with replace_file(with_suffix(stem, "json")) as temporary:
            temporary.write_text(record_as_json(record) + "\n")
        return _report(record, hand.box is None, stem, suffixes)


def sampling_options(settings: PredictionSettings) -> dict[str, Any]:
    """What the pipeline is told about sampling, besides the seed."""
    return {
        "num_hypotheses": settings.num_hypotheses,
        "num_inference_steps": settings.steps,
        "num_mesh_inference_steps": settings.mesh_steps,
        "aggregation": settings.aggregation,
        "output_type": "np",
    }


def with_suffix(stem: Path, suffix: str) -> Path:
    """The file of a name that may itself hold a dot."""
    return stem.with_name(f"{stem.name}.{suffix}")


def _boxes(hands: list[tuple[np.ndarray, HandToPredict]]) -> np.ndarray | None:
    """The boxes (B, 4) px of hands; None: all of them fill their images."""
    from hf_handdiff.camera import box_of_whole_image

    if all(hand.box is None for _, hand in hands):
        return None
    return np.array([box_of_whole_image(*image.shape[:2]) if hand.box is None else hand.box for image, hand in hands])


def prediction_record(
    output: Any, index: int, hand: HandToPredict, image_size: tuple[int, int], seed: int, checkpoint: str
) -> dict[str, Any]:
    """Return the content of NAME.json for one hand of an output, arrays still numpy; 3D is wrist-relative, camera axes.

    `box_px` is the image's own where the whole image was the crop; `translation_m` is None without intrinsics. Of a
    checkpoint in a folder it tells the name, not the path.
    """
    height, width = image_size
    return {
        "joints_m": output.joints[index],
        "joint_hypotheses_m": output.joint_hypotheses[index],
        "mean_joints_m": output.mean_joints[index],
        "joint_std_m": output.joint_std[index],
        "mean_vertices_m": output.mean_vertices[index],
        "keypoints_2d_px": output.keypoints_2d[index],
        "keypoint_scores": output.keypoint_scores[index],
        "translation_m": None if output.translation is None else output.translation[index],
        "hand_score": float(output.hand_score[index]),
        "handedness": hand.handedness,
        "box_px": [0.0, 0.0, float(width), float(height)] if hand.box is None else list(hand.box),
        "seed": seed,
        "checkpoint": public_checkpoint(checkpoint),
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


def _npz_arrays(record: dict[str, Any], output: Any, index: int) -> dict[str, np.ndarray]:
    arrays = {key: np.asarray(value) for key, value in record.items() if value is not None}
    return {**arrays, "vertices_m": output.vertices[index], "faces": np.asarray(output.faces)}


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


def camera_matrix(intrinsics: tuple[float, ...] | None) -> np.ndarray | None:
    """The camera (3, 3) px of (fx, fy, cx, cy)."""
    if intrinsics is None:
        return None
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def default_device(device: str | None = None) -> str:
    """The device, or a GPU if there is one."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def load_pipeline(checkpoint: str | None = None, device: str | None = None) -> CascadedHandPipeline:
    """Load the cascade without progress bars, for a command.

    Args:
        checkpoint: folder or Hub repository; None is the checkpoint that comes with the package.
        device: where the networks run; None: a GPU if there is one.

    Raises:
        CheckpointError: one line that says what is wrong with the checkpoint.
    """
    import diffusers
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
        pipeline.to(default_device(device))
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


def _with_progress(files: Sequence[InputFile], shown: bool):
    """Yield (file, function that writes a line), with a progress bar where there are several files."""
    from tqdm import tqdm

    def write_line(line: str, error: bool = False) -> None:
        warning = error or ": warning: " in line
        tqdm.write(line, file=sys.stderr if warning else sys.stdout)

    for file in tqdm(files, desc="files", unit="file", disable=len(files) < 2 or not shown, file=sys.stderr):
        yield file, write_line
