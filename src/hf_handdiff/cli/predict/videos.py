"""The hands of a video: NAME.jsonl, a line a frame, and NAME.mp4, which shows them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from hf_handdiff.cli.predict.files import make_folder, with_suffix
from hf_handdiff.cli.predict.settings import PredictionSettings
from hf_handdiff.errors import InputError
from hf_handdiff.export.records import frame_record, record_as_json
from hf_handdiff.files import replace_file
from hf_handdiff.video.following import follow_hands, make_tracker
from hf_handdiff.video.reading import Frame, VideoReader
from hf_handdiff.video.sequence import SmoothHand
from hf_handdiff.video.tracking import Detector
from hf_handdiff.video.writing import VideoWriter
from hf_handdiff.viz.frames import draw_hands
from hf_handdiff.viz.placement import place_hand

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline


def predict_video(
    path: str,
    name: str,
    pipeline: CascadedHandPipeline,
    detector: Detector | None,
    settings: PredictionSettings,
) -> list[str]:
    """Write NAME.jsonl and NAME.mp4; both appear once they are whole.

    No more than some frames are in memory, however long the video is.

    Args:
        path: the video.
        name: of the results, below `settings.out`.
        pipeline: what answers for a frame.
        detector: finds the hands; None: one hand, at `settings.box` or filling the frame when it is first seen.
        settings: what the user asked for.

    Returns:
        Lines for the user.

    Raises:
        InputError: the video cannot be read, or its answer would take its place.
    """
    stem = settings.out / name
    make_folder(stem.parent)
    video_out, lines_out = with_suffix(stem, "mp4"), with_suffix(stem, "jsonl")
    if video_out.exists() and video_out.samefile(path):
        raise InputError(f"--out: expected another folder than that of '{path}', which would be overwritten")
    faces = pipeline.mesh_autoencoder.faces.cpu().numpy()
    tracker = make_tracker(detector, settings.box, settings.hand, settings.detect_every)
    counts = _Counts()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path))
        lines_part = stack.enter_context(replace_file(lines_out))
        video_part = stack.enter_context(replace_file(video_out))
        lines = stack.enter_context(open(lines_part, "w", encoding="utf-8"))
        writer = stack.enter_context(VideoWriter(video_part, reader.rate))
        frames = follow_hands(
            _with_progress(reader, Path(path).name),
            pipeline,
            tracker,
            settings.camera_matrix,
            settings.lookahead,
            **settings.of_sampling(),
        )
        for done in frames:
            hands = {number: hand for number, hand in sorted(done.hands.items()) if hand is not None}
            lines.write(record_as_json(frame_record(done.frame, hands, settings.save_vertices)) + "\n")
            drawn = [
                place_hand(
                    hand.vertices,
                    hand.joints,
                    faces,
                    hand.keypoints,
                    hand.own.scores,
                    settings.camera_matrix,
                    joint_std=hand.own.joint_std,
                    hand_score=hand.own.hand_score,
                    handedness=hand.own.handedness,
                )
                for hand in hands.values()
            ]
            names = [f"{number} {hand.own.handedness}" for number, hand in hands.items()]
            writer.write(draw_hands(done.frame.pixels, drawn, names), done.frame.time_s)
            counts.add(hands)
    return counts.report(stem) + ([] if reader.damage is None else [f"warning: {reader.damage}"])


class _Counts:
    """What is said of a video at its end."""

    def __init__(self):
        self._start = time.perf_counter()
        self._frames = self._with_hands = 0
        self._hands: set[int] = set()

    def add(self, hands: dict[int, SmoothHand]) -> None:
        self._frames += 1
        self._with_hands += bool(hands)
        self._hands |= set(hands)

    def report(self, stem: Path) -> list[str]:
        milliseconds = 1000 * (time.perf_counter() - self._start) / max(self._frames, 1)
        lines = [
            f"{self._frames} frames, {len(self._hands)} hand{'s' * (len(self._hands) != 1)} in {self._with_hands} of "
            f"them, {milliseconds:.0f} ms a frame -> {stem}.{{jsonl, mp4}}"
        ]
        if not self._hands:
            hint = "; say where it is with --box, or have it found with --detector builtin"
            lines.append(f"warning: no hand was found{hint}")
        return lines


def _with_progress(reader: VideoReader, name: str) -> Iterator[Frame]:
    return iter(tqdm(reader, desc=name, unit="frame", total=reader.num_frames, file=sys.stderr, leave=False))
