"""The hands of a video: NAME.jsonl, a line a frame, NAME.mp4, which shows them, and NAME.glb, their moving rigs."""

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
from hf_handdiff.export.hand_tracks import HandTracks
from hf_handdiff.export.records import frame_record, record_as_json
from hf_handdiff.files import replace_file
from hf_handdiff.hand.mesh_kinds import known_faces
from hf_handdiff.video.following import HandTracker, follow_hands
from hf_handdiff.video.reading import Frame, VideoReader
from hf_handdiff.video.sequence import SmoothHand
from hf_handdiff.video.tracking import Detector
from hf_handdiff.video.writing import VideoWriter
from hf_handdiff.viz.animated_glb import write_animated_glb
from hf_handdiff.viz.frames import draw_hands
from hf_handdiff.viz.placement import place_hand

if TYPE_CHECKING:
    from hf_handdiff.hand import HandLayer
    from hf_handdiff.pipelines import CascadedHandPipeline


def predict_video(
    path: str,
    name: str,
    pipeline: CascadedHandPipeline,
    detector: Detector | None,
    settings: PredictionSettings,
) -> tuple[list[str], list[str]]:
    """Write NAME.jsonl, NAME.mp4 and NAME.glb; all of them appear once they are whole.

    No more than some frames are in memory, however long the video is; of the others their joints are kept for the GLB,
    which holds a rig for each hand. It is not written for a checkpoint whose meshes are of a hand that is not known.

    Args:
        path: the video.
        name: of the results, below `settings.out`.
        pipeline: what answers for a frame.
        detector: finds the hands; None: one hand, at `settings.box` or filling the frame when it is first seen.
        settings: what the user asked for.

    Returns:
        The files, relative to `settings.out`, and lines for the user.

    Raises:
        InputError: the video cannot be read, or its answer would take its place.
    """
    stem = settings.out / name
    make_folder(stem.parent)
    video_out, lines_out = with_suffix(stem, "mp4"), with_suffix(stem, "jsonl")
    if video_out.exists() and video_out.samefile(path):
        raise InputError(f"--out: expected another folder than that of '{path}', which would be overwritten")
    faces = known_faces(pipeline.mesh_faces)
    tracker = HandTracker(
        pipeline,
        detector,
        box=settings.box,
        handedness=settings.hand,
        detect_every=settings.detect_every,
        intrinsics=settings.camera_matrix,
        lookahead=settings.lookahead,
        **settings.of_sampling(),
    )
    counts, tracks = _Counts(), HandTracks()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path))
        lines_part = stack.enter_context(replace_file(lines_out))
        video_part = stack.enter_context(replace_file(video_out))
        lines = stack.enter_context(open(lines_part, "w", encoding="utf-8"))
        writer = stack.enter_context(VideoWriter(video_part, reader.rate))
        for done in follow_hands(_with_progress(reader, Path(path).name), tracker):
            hands = {number: hand for number, hand in sorted(done.hands.items()) if hand is not None}
            tracks.add_frame(done.frame.time_s)
            for number, hand in hands.items():
                tracks.add_hand(number, hand.own.handedness, hand.joints, hand.translation)
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
        layer, suffixes = _layer_of(pipeline), ["jsonl", "mp4"]
        if layer is not None:
            write_animated_glb(with_suffix(stem, "glb"), tracks.rigs(layer), tracks.times_s)
            suffixes.append("glb")
    lines = counts.report(stem, ", ".join(suffixes))
    lines += [] if reader.damage is None else [f"warning: {reader.damage}"]
    return [f"{name}.{suffix}" for suffix in suffixes], lines


def _layer_of(pipeline: CascadedHandPipeline) -> HandLayer | None:
    """The right hand of the pipeline's meshes; None: it is not known."""
    try:
        return pipeline.hand_layer
    except InputError:
        return None


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

    def report(self, stem: Path, suffixes: str) -> list[str]:
        milliseconds = 1000 * (time.perf_counter() - self._start) / max(self._frames, 1)
        lines = [
            f"{self._frames} frames, {len(self._hands)} hand{'s' * (len(self._hands) != 1)} in {self._with_hands} of "
            f"them, {milliseconds:.0f} ms a frame -> {stem}.{{{suffixes}}}"
        ]
        if not self._hands:
            hint = "; say where it is with --box, or have it found with --detector builtin"
            lines.append(f"warning: no hand was found{hint}")
        return lines


def _with_progress(reader: VideoReader, name: str) -> Iterator[Frame]:
    return iter(tqdm(reader, desc=name, unit="frame", total=reader.num_frames, file=sys.stderr, leave=False))
