"""The open hand as data sets annotated with MANO know one: a `MANO_RIGHT.pkl`, and parameters in MANO's convention.

The file has MANO's fields and conventions, and none of its numbers: the rest hand lies away from the origin, shape
moves the wrist, the mean pose is not flat, and the vertices are numbered otherwise than the open hand's, with the
fingertips where MANO has them. Whatever takes one hand for the other goes wrong by centimetres.
"""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.files import replace_file
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import FINGERTIP_VERTICES, MANO_FINGERTIP_VERTICES, NUM_ROTATIONS

_REST_OFFSET_M = np.array([0.0957, 0.0064, 0.0062], np.float32)  # about where MANO's wrist lies
_SHAPE_OFFSET_M = np.float32(0.002)  # by which each unit of shape moves the whole hand
_STRIDE = 331  # has no factor in common with the number of vertices
_KEPT = ("posedirs", "weights", "kintree_table", "hands_mean", "hands_components")


@lru_cache(maxsize=1)
def vertex_order() -> np.ndarray:
    """(778,) the open hand's vertex at each place of the file: `vertices[vertex_order()]` has the file's numbering."""
    count = len(load_open_hand_arrays()["v_template"])
    order = np.arange(count) * _STRIDE % count
    for finger, place in MANO_FINGERTIP_VERTICES.items():
        now = int(np.flatnonzero(order == FINGERTIP_VERTICES[finger])[0])
        order[[place, now]] = order[[now, place]]
    order.setflags(write=False)
    return order


def mano_arrays(order: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The arrays of the open hand under MANO's names and in MANO's conventions.

    Args:
        order: (778,) the open hand's vertex at each place; None: `vertex_order()`.
    """
    order = vertex_order() if order is None else order
    ours = load_open_hand_arrays()
    place = np.argsort(order).astype(np.uint32)  # of each of the open hand's vertices
    arrays = {name: np.array(ours[name]) for name in _KEPT}
    arrays |= {
        "v_template": ours["v_template"][order] + _REST_OFFSET_M,
        "shapedirs": ours["shapedirs"][order] + _SHAPE_OFFSET_M,
        "posedirs": ours["posedirs"][order],
        "weights": ours["weights"][order],
        "J_regressor": np.ascontiguousarray(ours["J_regressor"][:, order]),
        "f": place[ours["f"]],
    }
    return arrays


def write_mano_pickle(path: str | Path, order: np.ndarray | None = None) -> Path:
    """Write `mano_arrays(order)` as a pickle in MANO's file format; returns its path."""
    arrays = mano_arrays(order)
    joints = arrays["J_regressor"] @ arrays["v_template"]
    with replace_file(path) as aside:
        aside.write_bytes(python2_pickle({**arrays, "J": joints, "bs_style": "lbs", "bs_type": "lrotmin"}))
    return Path(path)


def python2_pickle(content: dict[str, Any]) -> bytes:
    """A pickle as the official files are: protocol 2, numpy's old module names."""
    return pickle.dumps(content, 2).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def pose_from_mean(pose_rad: np.ndarray) -> np.ndarray:
    """A pose (16, 3) relative to the flat hand as the same pose relative to the mean pose of the file."""
    mean = load_open_hand_arrays()["hands_mean"].reshape(NUM_ROTATIONS - 1, 3)
    return np.concatenate([pose_rad[:1], pose_rad[1:] - mean])


def wrist_at_rest(shape: np.ndarray) -> np.ndarray:
    """(3,) m: the wrist of the file's rest hand of a shape (10,), round which the global rotation turns."""
    arrays = load_open_hand_arrays()
    moved = arrays["v_template"] + arrays["shapedirs"].astype(np.float64) @ shape
    return arrays["J_regressor"][0] @ moved + _REST_OFFSET_M + _SHAPE_OFFSET_M * np.sum(shape)
