"""A run of `handdiff predict`: images in batches, videos one by one, both by any number of processes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hf_handdiff.cli import loading
from hf_handdiff.cli.predict.files import InputFile, OutputNames, find_inputs, make_folder
from hf_handdiff.cli.predict.images import hand_finder, last_written, load_detector, sample_hands, write_hand
from hf_handdiff.cli.predict.manifest import Manifest
from hf_handdiff.cli.predict.overlap import InOrder, ahead
from hf_handdiff.cli.predict.scenes import write_scene
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.errors import InputError, first_line
from hf_handdiff.evaluation.processes import ALL_OF_IT, ProcessShare
from hf_handdiff.export.records import HandToPredict
from hf_handdiff.files import remove_leftovers
from hf_handdiff.images import load_image

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline

WriteLine = Callable[..., None]
Item = TypeVar("Item")
_AHEAD, _WAITING = 2, 3  # images that are read before their turn, answers that wait to be written: few, for memory
_EXPECTED_ERRORS = (OSError, ValueError, RuntimeError)  # of files; any other error is a mistake of ours


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
    make_folder(settings.out)
    files, names = find_inputs(paths, settings.out, _warn if share.is_main else lambda line: None)
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
    todo = [file for file in own if file.name not in done]
    with InOrder(_WAITING) as writing:
        run = _Run(settings, names, manifest if len(files) > 1 or settings.resume else None, writing)
        loaded = ahead(todo, lambda file: None if file.is_video else load_image(file.path, "images"), _AHEAD)
        for (file, pixels), write_line in _with_progress(loaded, len(todo), share.is_main):
            run.take(file, pixels, write_line)
        run.finish()
    share.wait()  # a launcher ends all processes when one of them ends with a failure
    return run.failed, len(own)


def _warn(line: str) -> None:
    print(_printable(f"handdiff: warning: {line}"), file=sys.stderr)


def _printable(line: str) -> str:
    """A line that any terminal takes: names of files may hold line ends, and bytes that are no UTF-8."""
    return line.replace("\r", "\\r").replace("\n", "\\n").encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class _LoadedImage:
    """An image that waits for its batch."""

    file: InputFile
    pixels: np.ndarray
    hands: list[HandToPredict]
    write_line: WriteLine


class _Run:
    """Takes files one by one; images wait until there are enough hands for a batch.

    Attributes:
        failed: how many files could not be done.
    """

    def __init__(self, settings: PredictionSettings, names: OutputNames, manifest: Manifest | None, writing: InOrder):
        self.failed = 0
        self._counting = Lock()
        self._settings = settings
        self._names = names
        self._manifest = manifest
        self._writing = writing
        self._find_hands = hand_finder(settings)
        self._waiting: list[_LoadedImage] = []
        on_cpu = loading.default_device(settings.device) == "cpu"
        self._batch_size = settings.batch_size or (1 if on_cpu else 8)

    @cached_property
    def _pipeline(self) -> CascadedHandPipeline:
        """Loaded when the first good file comes."""
        return loading.load_pipeline(self._settings.checkpoint, self._settings.device, self._settings.hand_model)

    def take(self, file: InputFile, pixels: Callable[[], np.ndarray], write_line: WriteLine) -> None:
        """Do a file, or keep it for the next batch; `pixels` gives those of an image, or raises what is wrong."""
        if file.is_video:
            self.finish()
            self._writing.wait()
            with self._failures_of(file, write_line):
                self._predict_video(file, write_line)
            return
        with self._failures_of(file, write_line):
            loaded = pixels()
            self._waiting.append(_LoadedImage(file, loaded, self._find_hands(file.path, loaded), write_line))
        if sum(len(image.hands) for image in self._waiting) >= self._batch_size:
            self.finish()

    def finish(self) -> None:
        """Do the images that wait: together, or one by one where one of them does not go through."""
        waiting, self._waiting = self._waiting, []
        output = None
        if len(waiting) > 1:
            hands = [(image.pixels, hand) for image in waiting for hand in image.hands]
            pipeline = self._pipeline
            with suppress(Exception):
                output = sample_hands(pipeline, hands, self._settings)
        first = 0
        for image in waiting:
            with self._failures_of(image.file, image.write_line):
                self._sample_and_write(image, output, first)
            first += len(image.hands)

    def _sample_and_write(self, image: _LoadedImage, output: Any, first: int) -> None:
        """The hands of an image are those from `first` of the output, None: not sampled yet. They are written later."""
        if output is None:
            hands = [(image.pixels, hand) for hand in image.hands]
            output, first = sample_hands(self._pipeline, hands, self._settings), 0
        name, several = image.file.name, len(image.hands) > 1
        names = [self._names.claim(f"{name}_{number}") if several else name for number in range(len(image.hands))]
        scene = self._names.claim(f"{name}_scene") if self._settings.scene else None
        self._writing.do(self._write, image, output, first, names, scene)

    def _write(self, image: _LoadedImage, output: Any, first: int, names: list[str], scene: str | None) -> None:
        """Write the answers for an image, and its scene, under names; runs beside the networks."""
        with self._failures_of(image.file, image.write_line):
            for number, (hand, name) in enumerate(zip(image.hands, names, strict=True)):
                for line in write_hand(
                    self._pipeline, output, first + number, image.pixels, hand, name, self._settings
                ):
                    image.write_line(f"{image.file.path}: {line}")
            answers = [f"{name}.{last_written(self._settings)}" for name in names]
            if scene is not None:
                rows = range(first, first + len(image.hands))
                for line in write_scene(self._pipeline, output, rows, image.pixels, scene, self._settings):
                    image.write_line(f"{image.file.path}: {line}")
                answers.append(f"{scene}.json")
            self._add_to_manifest(image.file, answers)

    def _predict_video(self, file: InputFile, write_line: WriteLine) -> None:
        from hf_handdiff.cli.predict.videos import predict_video

        if self._settings.detector_keypoints:
            raise InputError("--detector-keypoints: expected images, a video is followed by our own keypoints")
        if self._settings.scene:
            raise InputError("--scene: expected images, a video's GLB holds all of its hands; give --intrinsics")
        if self._settings.wrist_depth is not None:
            raise InputError("--wrist-depth: expected images, in a video hands come and go; give --hand-length")
        settings = self._settings.for_file(file.path)
        detector = None if settings.detector is None else load_detector(settings)
        answers, lines = predict_video(file.path, file.name, self._pipeline, detector, settings)
        for line in lines:
            write_line(f"{file.path}: {line}")
        self._add_to_manifest(file, answers)

    def _add_to_manifest(self, file: InputFile, answers: list[str]) -> None:
        if self._manifest is not None:
            self._manifest.add(file, answers)

    def _count_failure(self) -> None:
        with self._counting:  # the thread that writes counts, too
            self.failed += 1

    @contextmanager
    def _failures_of(self, file: InputFile, write_line: WriteLine) -> Iterator[None]:
        """What goes wrong with a file is said and counted; only a bad checkpoint ends the run."""
        try:
            yield
        except loading.CheckpointError:
            raise
        except _EXPECTED_ERRORS as error:
            self._count_failure()
            write_line(f"handdiff: error: {file.path}: {first_line(error)}", error=True)
        except Exception as error:  # show where it is, but do the other files
            self._count_failure()
            write_line(f"handdiff: error: {file.path}: unexpected {type(error).__name__}: {error}", error=True)
            for line in traceback.format_exc().splitlines():
                write_line(line, error=True)


def _with_progress(items: Iterable[Item], count: int, shown: bool) -> Iterator[tuple[Item, WriteLine]]:
    """Yield (item, function that writes a line), with a progress bar where there are several of them."""
    from tqdm import tqdm

    def write_line(line: str, error: bool = False) -> None:
        warning = error or ": warning: " in line
        tqdm.write(_printable(line), file=sys.stderr if warning else sys.stdout)

    bar = tqdm(items, desc="files", unit="file", total=count, disable=count < 2 or not shown, file=sys.stderr)
    for item in bar:
        yield item, write_line
