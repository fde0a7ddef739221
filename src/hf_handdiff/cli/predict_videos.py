"""What `handdiff predict` does with a video: JSON lines with the hands of every frame, and a video that shows them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_handdiff import camera
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.video.reading import Frame, VideoReader
from hf_handdiff.video.sequence import FrameHand, HandSequence, SmoothHand
from hf_handdiff.video.tracking import Detector, FixedPlace, HandTracker, Track
from hf_handdiff.video.writing import VideoWriter, json_line
from hf_handdiff.viz.frames import draw_hands
from hf_handdiff.viz.overlay import PlacedHand

if TYPE_CHECKING:
    from hf_handdiff.cli.predict import PredictionSettings
    from hf_handdiff.pipelines import CascadedHandPipeline


@dataclass
class HandsOfFrame:
    """A frame and its hands, by number of the hand; None where its answer still waits for later frames."""

    frame: Frame
    hands: dict[int, SmoothHand | None]


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
    stem.parent.mkdir(parents=True, exist_ok=True)
    video_out, lines_out = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("mp4", "jsonl"))
    if video_out.exists() and video_out.samefile(path):
        raise InputError(f"--out: expected another folder than that of '{path}', which would be overwritten")
    counts = _Counts()
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(path))
        lines_part = stack.enter_context(replace_file(lines_out))
        video_part = stack.enter_context(replace_file(video_out))
        lines = stack.enter_context(open(lines_part, "w", encoding="utf-8"))
        writer = stack.enter_context(VideoWriter(video_part, reader.rate))
        frames = _with_progress(reader, reader.num_frames, Path(path).name)
        for done in follow_hands(frames, pipeline, make_tracker(detector, settings), settings):
            hands = {number: hand for number, hand in sorted(done.hands.items()) if hand is not None}
            lines.write(json_line(frame_record(done.frame, hands, settings.save_vertices)))
            drawn = [_placed(hand, pipeline.mesh_autoencoder.faces.cpu().numpy(), settings) for hand in hands.values()]
            names = [f"{number} {hand.own.handedness}" for number, hand in hands.items()]
            writer.write(draw_hands(done.frame.pixels, drawn, names), done.frame.time_s)
            counts.add(hands)
    return counts.report(stem)


def make_tracker(detector: Detector | None, settings: PredictionSettings) -> HandTracker:
    """The tracker that goes with the settings."""
    if detector is None:
        box = None if settings.box is None else np.array(settings.box)
        detector = FixedPlace(box, settings.hand or "right")
    return HandTracker(detector, settings.hand, settings.detect_every)


def follow_hands(
    frames: Iterator[Frame],
    pipeline: CascadedHandPipeline,
    tracker: HandTracker,
    settings: PredictionSettings,
) -> Iterator[HandsOfFrame]:
    """Answer for every frame, in order, each a few frames after it was read.

    Args:
        frames: of the video.
        pipeline: what answers for a frame.
        tracker: which hands to ask for.
        settings: how to sample, and `lookahead`.
    """
    waiting: deque[HandsOfFrame] = deque()
    sequences: dict[int, HandSequence] = {}
    for frame in frames:
        waiting.append(HandsOfFrame(frame, {}))
        tracks = tracker.look(frame.pixels)
        for track, hand in zip(tracks, _ask(pipeline, frame, tracks, settings), strict=True):
            if not tracker.update(track, hand.keypoints, hand.hand_score, frame.pixels.shape[:2]):
                continue
            waiting[-1].hands[track.number] = None
            sequence = sequences.setdefault(track.number, HandSequence(settings.lookahead))
            _put(waiting, track.number, [sequence.push(hand)])
        for track in tracker.drop_lost():
            if track.number in sequences:
                _put(waiting, track.number, sequences.pop(track.number).flush())
        while waiting and None not in waiting[0].hands.values():
            yield waiting.popleft()
    for number, sequence in sequences.items():
        _put(waiting, number, sequence.flush())
    yield from waiting


def _ask(
    pipeline: CascadedHandPipeline, frame: Frame, tracks: list[Track], settings: PredictionSettings
) -> list[FrameHand]:
    """What the pipeline says of each hand in a frame, all in one call."""
    from hf_handdiff.cli.predict import camera_matrix, sampling_options

    if not tracks:
        return []
    intrinsics = camera_matrix(settings.intrinsics)
    output = pipeline(
        [frame.pixels] * len(tracks),
        handedness=[track.handedness for track in tracks],
        boxes=np.stack([track.box for track in tracks]).astype(np.float32),
        intrinsics=None if intrinsics is None else np.stack([intrinsics] * len(tracks)),
        generator=settings.seed,  # the same in every frame: hypothesis k goes on with hypothesis k
        **sampling_options(settings),
    )
    return [
        FrameHand(
            frame=frame.number,
            time_s=frame.time_s,
            hypotheses=output.joints[k].astype(np.float64),
            vertices=output.vertices[k],
            mean_joints=output.mean_joints[k],
            joint_std=output.joint_std[k].astype(np.float64),
            keypoints=output.keypoints_2d[k].astype(np.float64),
            scores=output.keypoint_scores[k].astype(np.float64),
            translation=None if output.translation is None else output.translation[k].astype(np.float64),
            box=track.box,
            hand_score=float(output.hand_score[k]),
            handedness=track.handedness,
        )
        for k, track in enumerate(tracks)
    ]


def _put(waiting: deque[HandsOfFrame], number: int, hands: list[SmoothHand | None]) -> None:
    """Lay answers for a hand into the frames that wait for them."""
    by_frame = {hand.own.frame: hand for hand in hands if hand is not None}
    for entry in waiting:
        if entry.frame.number in by_frame:
            entry.hands[number] = by_frame[entry.frame.number]


def frame_record(frame: Frame, hands: dict[int, SmoothHand], with_vertices: bool = False) -> dict[str, Any]:
    """The JSON line of a frame, arrays still as numpy arrays; 3D is wrist-relative, in camera axes.

    Args:
        frame: the frame.
        hands: its hands by number.
        with_vertices: also the meshes.
    """
    return {
        "frame": frame.number,
        "time_s": round(frame.time_s, 6),
        "hands": [
            {
                "id": number,
                "handedness": hand.own.handedness,
                "hand_score": hand.own.hand_score,
                "box_px": hand.own.box,
                "joints_m": hand.joints,
                "joint_std_m": hand.own.joint_std,
                "keypoints_2d_px": hand.keypoints,
                "keypoint_scores": hand.own.scores,
                "translation_m": hand.translation,
                "linked_hypothesis": hand.linked,
                "frame_joints_m": hand.own.mean_joints,
                "frame_keypoints_2d_px": hand.own.keypoints,
                **({"vertices_m": hand.vertices} if with_vertices else {}),
            }
            for number, hand in hands.items()
        ],
    }


def _placed(hand: SmoothHand, faces: np.ndarray, settings: PredictionSettings) -> PlacedHand:
    """The hand where its keypoints say that it stands, for drawing."""
    from hf_handdiff.cli.predict import camera_matrix

    intrinsics = camera_matrix(settings.intrinsics)
    if intrinsics is None:
        low, high = hand.keypoints.min(axis=0), hand.keypoints.max(axis=0)
        crop = camera.crop_of_box([*low, *high])
        intrinsics = camera.default_intrinsics(torch.from_numpy(crop)[None])[0].numpy()
    weights = np.clip(hand.own.scores, 0.0, 1.0) + 1e-3
    rows = (torch.from_numpy(values)[None] for values in (hand.joints, hand.keypoints, intrinsics, weights))
    place = camera.fit_translation(*rows)[0].numpy()
    return PlacedHand(
        vertices=hand.vertices + place,
        joints=hand.joints + place,
        faces=faces,
        intrinsics=intrinsics,
        joint_std=hand.own.joint_std,
        hand_score=hand.own.hand_score,
        handedness=hand.own.handedness,
    )


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


def _with_progress(reader: VideoReader, num_frames: int | None, name: str) -> Iterator[Frame]:
    import sys

    from tqdm import tqdm

    return iter(tqdm(reader, desc=name, unit="frame", total=num_frames, file=sys.stderr, leave=False))
