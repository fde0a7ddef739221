"""How smoothly points move over the frames of a video, and how far behind: pure functions.

Jitter is what remains of a motion when its constant velocity is taken away, from one frame to the next: the length of
the second difference, x[t + 1] - 2 x[t] + x[t - 1]. A hand that moves has some of its own.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.json_files import parse_json


def jitter(points: np.ndarray) -> float:
    """Mean length of the second differences of points (T, P, D), in their units; NaN rows (not seen) are left out."""
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    return float(np.nanmean(np.linalg.norm(second, axis=-1))) if len(points) > 2 else float("nan")


def lag_frames(before: np.ndarray, after: np.ndarray, most: int = 8) -> float:
    """By how many frames `after` comes later than `before`: where their velocities correlate best.

    Velocities and not places: of slow motions all places are alike. Between whole frames the maximum is that of the
    parabola through its neighbours.

    Args:
        before: (T, P, D).
        after: (T, P, D).
        most: the largest lag, either way, that is looked for.

    Returns:
        Frames; negative where `after` is ahead.

    Raises:
        InputError: there are too few frames.
    """
    if len(before) < 4 * most:
        raise InputError(f"before: expected at least {4 * most} frames to find a lag of {most}, got {len(before)}")
    first, second = (np.diff(points, axis=0).reshape(len(points) - 1, -1) for points in (before, after))
    inner = slice(most, len(first) - most)
    scores = []
    for shift in range(-most, most + 1):
        moved = second[most + shift : len(second) - most + shift]
        both = np.isfinite(first[inner]) & np.isfinite(moved)
        a, b = np.where(both, first[inner], 0.0), np.where(both, moved, 0.0)
        scores.append((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-30))
    peak = int(np.argmax(scores))
    if peak in (0, 2 * most):
        return float(peak - most)
    left, middle, right = scores[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    return peak - most + (0.5 * (left - right) / bend if bend < 0 else 0.0)


def measure_json_lines(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Jitter and lag of each hand in the JSON lines that `handdiff predict` writes for a video.

    Returns:
        For each hand "id", "frames", "jitter_mm_before" and "jitter_mm_after" (joints, wrist-relative, the frames'
        own answers and the smoothed ones), "jitter_px_before" and "jitter_px_after" (keypoints), "lag_frames".

    Raises:
        InputError: a line is something else.
    """
    hands: dict[int, dict[int, dict]] = defaultdict(dict)
    with open(Path(path), encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            name = f"{path}, line {number}"
            record = parse_json(line, name, finite=False)
            try:
                for hand in record["hands"]:
                    hands[hand["id"]][record["frame"]] = hand
            except (KeyError, TypeError):
                raise InputError(f"{name}: expected a frame as handdiff predict writes it") from None
    return [_measure(number, frames) for number, frames in sorted(hands.items())]


def _measure(number: int, frames: dict[int, dict]) -> dict[str, Any]:
    def series(name: str) -> np.ndarray:
        nothing = np.full(np.shape(frames[min(frames)][name]), np.nan)
        rows = [frames[t][name] if t in frames else nothing for t in range(min(frames), max(frames) + 1)]
        return np.array(rows, dtype=np.float64)

    before, after = series("frame_joints_m"), series("joints_m")
    return {
        "id": number,
        "frames": len(frames),
        "jitter_mm_before": 1000 * jitter(before),
        "jitter_mm_after": 1000 * jitter(after),
        "jitter_px_before": jitter(series("frame_keypoints_2d_px")),
        "jitter_px_after": jitter(series("keypoints_2d_px")),
        "lag_frames": lag_frames(before, after) if len(before) >= 32 else None,
    }
