"""`handdiff stream`: its arguments, and the loop from frames to lines. Heavy modules load when it runs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from hf_handdiff.cli.arguments import (
    DETECTORS,
    add_checkpoint_argument,
    add_device_argument,
    add_hand_argument,
    checked,
    whole_number,
)
from hf_handdiff.cli.predict.hand_arguments import (
    add_detect_every_argument,
    add_intrinsics_argument,
    add_sampling_arguments,
)
from hf_handdiff.cli.predict.settings import PredictionSettings, check_box
from hf_handdiff.errors import InputError, StorageError

if TYPE_CHECKING:
    from hf_handdiff.video.following import HandTracker
    from hf_handdiff.video.sources import Arrival

NUM_LIVE_HYPOTHESES = 8
"""Fewer than for photos, to be quick."""

_DESCRIPTION = """\
Follow the hands of a live source and write one JSON line a frame to standard output, at once: each hand's number, side,
joints, expected errors and parameters, and the frame's latency. Frames that come faster than they are answered are
dropped, so that the newest one is answered next, and counted; those of a file all have their turn.
"""
_EXAMPLES = """\
examples:
  handdiff stream 0                                    the first camera
  handdiff stream rtsp://camera.local/stream --smooth  an address that PyAV opens
  handdiff stream clip.mp4 --realtime                  a file, as if it were a camera
  producer | handdiff stream - | consumer              JPEGs on standard input, one after the other
"""


def add_stream_parser(subparsers) -> None:
    """Add `stream` to the subparsers of `handdiff`; sets `run`, arguments -> exit status."""
    parser = subparsers.add_parser(
        "stream",
        help="follow the hands of a camera or another live source, a JSON line a frame",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="number of a camera, video file, address such as rtsp://... (these need the extra [video]), or - for JPEG "
        "pictures on standard input",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--every-frame",
        action="store_true",
        help="answer every frame, however late (default for files; others drop what comes too fast)",
    )
    pace.add_argument(
        "--realtime", action="store_true", help="files: let frames come at the video's own pace, and drop as a camera's"
    )
    parser.add_argument(
        "--smooth",
        action="store_true",
        help="link hypotheses and smooth joints over time, from the frames so far (default: each frame's own answer)",
    )
    parser.add_argument("--max-hands", type=whole_number(1), metavar="N", help="the most hands that are followed")
    add_checkpoint_argument(parser)
    add_hand_argument(parser, with_side=True)
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--box",
        type=checked(check_box),
        metavar="x0,y0,x1,y1",
        help="box in px in which the one hand is first seen, instead of a detector",
    )
    place.add_argument(
        "--detector",
        choices=DETECTORS,
        help="what finds the hands (default: builtin; mediapipe needs the extra [mediapipe])",
    )
    add_intrinsics_argument(parser)
    add_sampling_arguments(parser)
    add_detect_every_argument(parser)
    add_device_argument(parser)
    defaults = {field.name: field.default for field in fields(PredictionSettings) if field.name != "out"}
    parser.set_defaults(**{**defaults, "num_hypotheses": NUM_LIVE_HYPOTHESES}, run=run_stream)


def run_stream(arguments: argparse.Namespace) -> int:
    """`handdiff stream`: returns the exit status: 0 at the end of the source or of who reads, 130 after Ctrl-C."""
    lines = _Lines()
    try:
        _stream(arguments, lines)
    except KeyboardInterrupt:
        print(f"handdiff: stopped{lines.report()}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the lines has enough
        _close_stdout()
        return 0
    print(f"handdiff: the source has ended{lines.report()}", file=sys.stderr)
    return 0


class _Lines:
    """Writes a line a frame, and counts."""

    def __init__(self):
        self.written = 0
        self._number = -1
        self._latencies: list[float] = []

    def write(self, record: dict, frame: Arrival) -> None:
        """Write the line of a frame, with its latency and how many frames before it have none."""
        from hf_handdiff.export.records import record_as_json

        latency = time.monotonic() - frame.arrived_s
        self._number = frame.number
        record = {**record, "latency_s": round(latency, 4), "dropped": frame.number - self.written}
        try:
            sys.stdout.write(record_as_json(record) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            _close_stdout()
            raise StorageError(f"standard output cannot be written to ({error.strerror})") from None
        self.written += 1
        self._latencies = self._latencies[-9999:] + [latency]

    def report(self) -> str:
        """What is said at the end: how many lines and dropped frames, and the latencies."""
        text = f" after {self.written} frames, {self._number + 1 - self.written} dropped"
        if not self._latencies:
            return text
        ordered = sorted(self._latencies)
        middle, high = ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered))]
        return f"{text}; latency {1000 * middle:.0f} ms (median), {1000 * high:.0f} ms (95 %)"


def _stream(arguments: argparse.Namespace, lines: _Lines) -> None:
    from hf_handdiff.export.records import frame_record
    from hf_handdiff.video.newest import NewestFrames
    from hf_handdiff.video.reading import Frame
    from hf_handdiff.video.sources import in_real_time, open_source

    with ExitStack() as stack:
        source = open_source(arguments.source)  # first, that a wrong one is said at once
        tracker = _make_tracker(arguments)
        frames: Iterator[Arrival] = source.frames
        if arguments.realtime and not source.is_live:
            frames = in_real_time(frames)
        if arguments.realtime or (source.is_live and not arguments.every_frame):
            frames = iter(stack.enter_context(NewestFrames(frames)))
        for arrival in frames:
            try:
                pixels = arrival.decode()
            except InputError as error:
                print(f"handdiff: warning: frame {arrival.number} is left out: {error}", file=sys.stderr)
                continue
            (done,) = tracker.push(Frame(arrival.number, arrival.time_s, pixels))
            lines.write(frame_record(done.frame, dict(sorted(done.hands.items()))), arrival)


def _make_tracker(arguments: argparse.Namespace) -> HandTracker:
    """The tracker, warm: the first calls of networks are slow."""
    import numpy as np

    from hf_handdiff.cli.loading import load_pipeline
    from hf_handdiff.cli.predict.images import load_detector
    from hf_handdiff.video.following import HandTracker

    asked = {field.name: getattr(arguments, field.name) for field in fields(PredictionSettings) if field.name != "out"}
    asked["out"] = Path()  # nothing is written into a folder
    if arguments.box is None:
        asked["detector"] = arguments.detector or "builtin"
    settings = PredictionSettings(**asked)
    pipeline = load_pipeline(settings.checkpoint, settings.device, settings.hand_model)
    detector = None if settings.detector is None else load_detector(settings)
    blank = np.zeros((240, 320, 3), np.uint8)
    for _ in range(2):
        pipeline(blank, **settings.of_sampling())
        if detector is not None:
            detector.detect(blank)
    return HandTracker(
        pipeline,
        detector,
        box=settings.box,
        handedness=settings.hand,
        max_hands=arguments.max_hands,
        detect_every=settings.detect_every,
        intrinsics=settings.camera_matrix,
        smooth=arguments.smooth,
        **settings.of_sampling(),
    )


def _close_stdout() -> None:
    """Let Python's last flush of standard output go nowhere, instead of failing once more."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
