"""Hand shapes: the whole range of the open hand, in bands that no two splits share.

A shape is ten normal coefficients. Its position along the diagonal of the shape space, where all ten count
alike, decides whose it is: the axis is cut into equal periods, and each period into a band for every split
with gaps between them. So each split meets hands of all kinds, and no hand of one split is closer than
GAP_WIDTH standard deviations to a hand of another.
"""

import numpy as np

MAX_COEFFICIENT = 3.0
WIDE_SHARE, WIDE_STD = 0.25, 1.5
PERIOD = 1.0
GAP_WIDTH = 0.05
BANDS = {"train": (0.0, 0.69), "validation": (0.74, 0.82), "test": (0.87, 0.95)}


def band_position(shape: np.ndarray) -> np.ndarray:
    """Where shapes (..., 10) lie within their period along the diagonal: (...) in 0 .. PERIOD."""
    along = np.asarray(shape, np.float64).sum(-1) / np.sqrt(np.shape(shape)[-1])
    return np.mod(along, PERIOD)


def sample_shape(split: str, rng: np.random.Generator) -> np.ndarray:
    """A random shape (10,) float32 of `split`; a share of them are less common hands."""
    low, high = BANDS[split]
    std = WIDE_STD if rng.random() < WIDE_SHARE else 1.0
    while True:
        shape = np.clip(rng.normal(0.0, std, 10), -MAX_COEFFICIENT, MAX_COEFFICIENT).astype(np.float32)
        if low <= band_position(shape) < high:
            return shape
