"""Rows of a tiny corpus."""

import io

import numpy as np
from PIL import Image

from hf_handdiff.data.features import CORPUS_FEATURES


def few_rows(count: int = 5) -> dict[str, list]:
    """Columns of `CORPUS_FEATURES` with synthetic numbers and pixels."""
    rng = np.random.default_rng(5)
    columns: dict[str, list] = {}
    for name, feature in CORPUS_FEATURES.items():
        length = getattr(feature, "length", None)
        shape = getattr(feature, "shape", (length,) if length else ())
        dtype = getattr(feature, "feature", feature).dtype
        if name == "image":
            columns[name] = [_jpeg(rng) for _ in range(count)]
        elif dtype == "string":
            columns[name] = [f"5/{index}" for index in range(count)]
        elif dtype == "bool":
            columns[name] = list(rng.random((count, *shape)) > 0.5)
        else:
            columns[name] = list(rng.normal(size=(count, *shape)).astype(np.float32))
    return columns


def _jpeg(rng) -> dict:
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "JPEG")
    return {"bytes": file.getvalue(), "path": None}
