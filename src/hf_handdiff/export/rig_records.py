"""What `handdiff predict` wrote, read back as rigs: of a photo its parameters, of a video the joints of its frames."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.export.hand_tracks import HandTracks
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.topology import NUM_JOINTS
from hf_handdiff.json_files import parse_json, read_json_object, shown
from hf_handdiff.pipelines.defaults import HANDEDNESS
from hf_handdiff.viz.moving_hand import MovingHand
from hf_handdiff.viz.rig import HandRig, make_rig

PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")
_LARGEST_DISTANCE_M = 1e-3
"""Between the vertices of a record and those that its parameters give, from where on they are another hand's."""


@dataclass(frozen=True)
class RecordedHands:
    """The hands of a photo (one, at 0 s) or of a video.

    Attributes:
        hands: by number and side; those of a video are called "hand_0_right" and so on, that of a photo "answer".
        times_s: (T,) of all frames.
    """

    hands: list[MovingHand]
    times_s: np.ndarray


def read_rigs(path: str | Path, layer: HandLayer) -> RecordedHands:
    """The rigs of NAME.json, NAME.npz or NAME.jsonl.

    Args:
        path: the file.
        layer: the right hand that the parameters are of.

    Raises:
        InputError: the file cannot be read, is of a photo and holds no parameters, or those of another hand than the
            layer, or is of a video and lines of it are not frames.
    """
    path = Path(path)
    if path.suffix.lower() == ".jsonl":
        return _read_video(path, layer)
    record = _read_npz(path) if path.suffix.lower() == ".npz" else read_json_object(path, "input")
    rig = _rig_of(record, layer, path)
    _check_vertices(rig, record.get("mean_vertices_m"), path)
    return RecordedHands([MovingHand("answer", np.zeros(1), rig)], np.zeros(1))


def _read_video(path: Path, layer: HandLayer) -> RecordedHands:
    """The rigs of a video, from its smoothed joints, as `handdiff predict` makes them for NAME.glb."""
    tracks = HandTracks()
    for number, line in enumerate(_lines(path), 1):
        where = f"input: line {number} of '{path}'"
        hands = line.get("hands") if isinstance(line, dict) else None
        if not isinstance(hands, list):
            raise InputError(f"{where}: expected a frame with its hands, as handdiff predict writes them")
        tracks.add_frame(_numbers(line.get("time_s"), (), f"{where}: time_s").item())
        for hand in hands:
            if not isinstance(hand, dict) or hand.get("handedness") not in HANDEDNESS:
                raise InputError(f"{where}: expected hands with their handedness, 'left' or 'right'")
            joints, place = hand.get("joints_m"), hand.get("translation_m")
            tracks.add_hand(
                int(_numbers(hand.get("id"), (), f"{where}: id")),
                hand["handedness"],
                _numbers(joints, (NUM_JOINTS, 3), f"{where}: joints_m"),
                None if place is None else _numbers(place, (3,), f"{where}: translation_m"),
            )
    return RecordedHands(tracks.rigs(layer), tracks.times_s)


def _rig_of(record: Mapping[str, Any], layer: HandLayer, path: Path) -> HandRig:
    """The rig of a photo's hand, its wrist at 0."""
    if any(record.get(name) is None for name in PARAMETERS):
        raise InputError(
            f"input: '{path}' holds no parameters ({', '.join(PARAMETERS)}); expected what handdiff predict writes "
            "with --aggregation fitted"
        )
    side = str(record.get("handedness"))
    try:
        values = [np.array([record[name]], dtype=np.float64) for name in PARAMETERS]
        return make_rig(layer, *values, handedness=side)
    except (ValueError, TypeError) as error:
        raise InputError(f"input: '{path}': {error}") from None


def _check_vertices(rig: HandRig, vertices: Any, path: Path) -> None:
    """Refuse a rig that does not give the vertices (V, 3) which its record tells, if it tells any."""
    if vertices is None:
        return
    posed = rig.posed_vertices()[0]
    try:
        told = np.asarray(vertices, dtype=np.float64)
    except (ValueError, TypeError):
        told = np.zeros(0)
    if told.shape != posed.shape or not np.linalg.norm(told - posed, axis=-1).max() <= _LARGEST_DISTANCE_M:
        raise InputError(
            f"input: the parameters of '{path}' do not give its vertices: they are another hand's; give its file with "
            "--hand"
        )


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in (*PARAMETERS, "handedness", "mean_vertices_m")}
    except OSError as error:
        raise InputError(f"input: '{path}' cannot be read ({error.strerror or 'it is no npz file'})") from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise InputError(f"input: '{path}' is no npz file that can be read") from None


def _lines(path: Path) -> Iterator[Any]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield parse_json(line, f"input: line {number} of '{path}'")
    except OSError as error:
        raise InputError(f"input: '{path}' cannot be read ({error.strerror})") from None


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers of a shape, or `InputError`."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        expected = f"numbers of shape {shape}" if shape else "a number"
        raise InputError(f"{where}: expected {expected}, got {shown(value)}")
    return numbers
