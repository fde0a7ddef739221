"""The parameters of hands read back from what `handdiff predict` wrote, as rigs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.json_files import parse_json, read_json_object, shown
from hf_handdiff.viz.animated_glb import MovingHand
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
        InputError: the file cannot be read, holds no parameters, or those of another hand than the layer.
    """
    path = Path(path)
    if path.suffix.lower() == ".jsonl":
        return _read_video(path, layer)
    record = _read_npz(path) if path.suffix.lower() == ".npz" else read_json_object(path, "input")
    rig = _rig_of([record], layer, f"'{path}'")
    _check_vertices(rig, record.get("mean_vertices_m"), path)
    return RecordedHands([MovingHand("answer", np.zeros(1), rig)], np.zeros(1))


def _read_video(path: Path, layer: HandLayer) -> RecordedHands:
    times, tracks = [], {}
    for number, line in enumerate(_lines(path), 1):
        where = f"line {number} of '{path}'"
        hands = line.get("hands") if isinstance(line, dict) else None
        if not isinstance(hands, list) or not all(isinstance(hand, dict) for hand in hands):
            raise InputError(f"input: {where}: expected a frame with its hands, as handdiff predict writes them")
        times.append(_number(line.get("time_s"), f"{where}: time_s"))
        for hand in hands:
            name = f"hand_{hand.get('id')}_{hand.get('handedness')}"
            tracks.setdefault(name, []).append((times[-1], hand))
    hands = []
    for name, seen in tracks.items():
        rig = _rig_of([hand for _, hand in seen], layer, f"{name} of '{path}'")
        hands.append(MovingHand(name, np.array([time for time, _ in seen]), rig))
    return RecordedHands(hands, np.array(times))


def _rig_of(records: Sequence[Mapping[str, Any]], layer: HandLayer, where: str) -> HandRig:
    """The rig of one hand from a record a frame."""
    if any(record.get(name) is None for record in records for name in PARAMETERS):
        raise InputError(
            f"input: {where} holds no parameters ({', '.join(PARAMETERS)}); expected what handdiff predict writes with "
            "--aggregation fitted"
        )
    places = [record.get("translation_m") for record in records]
    in_place = all(np.shape(place) == (3,) for place in places)  # photos have one for each hypothesis
    try:
        values = [[record[name] for record in records] for name in PARAMETERS]
        return make_rig(
            layer,
            *(np.array(value, dtype=np.float64) for value in values),
            handedness=str(records[0].get("handedness")),
            translation=np.array(places) if in_place else None,
        )
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"input: {where}: {error}") from None


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
            "--hand-model"
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


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"input: {where}: expected a number, got {shown(value)}")
    return float(value)
