"""Parts of photos in another size: the pixels of Pillow, in memory for the part alone."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from hf_handdiff import resizing
from hf_handdiff.camera import crop_image
from hf_handdiff.models.hand_search import _shrunk
from hf_handdiff.models.mediapipe_hands import pad_to_square, padded_side
from hf_handdiff.resizing import cut_out, reduce_blocks

OUTSIDE = (40, 43, 49)


def photo(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_padding(image, region, size, resample, margin):
    """The same with a copy of everything."""
    left, top = (int(np.floor(value)) - margin for value in region[:2])
    right, bottom = (int(np.ceil(value)) + margin for value in region[2:])
    padded = Image.new("RGB", (right - left, bottom - top), OUTSIDE)
    padded.paste(Image.fromarray(image), (-left, -top))
    return padded.resize(size, resample, box=(region[0] - left, region[1] - top, region[2] - left, region[3] - top))


@pytest.mark.parametrize("filter_name", ["BICUBIC", "LANCZOS"])
def test_a_region_is_what_pillow_makes_of_all_of_it(filter_name, monkeypatch):
    monkeypatch.setattr(resizing, "_TILE_PX", 50)
    rng, resample = np.random.default_rng(1), Image.Resampling[filter_name]
    for number in range(60):
        image = photo(int(rng.integers(1, 90)), int(rng.integers(1, 150)))
        start, side = rng.uniform(-150, 150, 2), rng.uniform(1, 400)
        region = tuple(float(value) for value in (*start, *(start + side * rng.uniform(0.5, 1, 2))))
        size, margin = tuple(rng.integers(1, 130, 2).tolist()), number % 2
        expected = np.asarray(by_padding(image, region, size, resample, margin)).astype(int)
        off = np.abs(np.asarray(cut_out(image, region, size, resample, OUTSIDE, margin)) - expected)
        assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_blocks_are_those_of_pillow(monkeypatch):
    monkeypatch.setattr(resizing, "_BAND_PIXELS", 2000)
    image = photo(83, 120)
    for block in ((1, 2), (3, 2), (7, 7), (200, 90)):
        np.testing.assert_array_equal(reduce_blocks(image, block), np.asarray(Image.fromarray(image).reduce(block)))
    for shape in ((60, 40), (11, 7), (25, 80)):
        whole = Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR, reducing_gap=2.0)
        np.testing.assert_array_equal(np.asarray(_shrunk(image, shape)), np.asarray(whole))


def test_a_view_of_a_mirrored_photo_is_cut_like_a_copy():
    image = photo(90, 70)
    for side in (30.0, 200.0):
        crop = np.array([20.0, 40.0, side])
        mirrored = image[:, ::-1]
        assert torch.equal(crop_image(mirrored, crop, 32), crop_image(mirrored.copy(), crop, 32))


def peak_megabytes(call) -> float:
    """Of what numpy allocates; Pillow's images are not counted."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def test_a_panorama_takes_no_more_memory_than_its_result(monkeypatch):
    """Pillow's pictures of more than 16 megabytes are refused here."""
    image = np.zeros((1000, 20_000, 3), np.uint8)  # 60 MB; its square would be 1200
    new = Image.new

    def small(mode, size, *options):
        assert size[0] * size[1] <= 6e6, size
        return new(mode, size, *options)

    monkeypatch.setattr(Image, "new", small)
    monkeypatch.setattr(Image, "frombuffer", _refusing(Image.frombuffer))
    calls = [
        lambda: cut_out(image, (0, -9500, 20_000, 10_500), (840, 840), Image.Resampling.BICUBIC, OUTSIDE, 1),
        lambda: cut_out(image, (19_000, -9500, 39_000, 10_500), (840, 840), Image.Resampling.BICUBIC, OUTSIDE, 1),
        lambda: cut_out(image, (0, 0, 20_000, 1000), (226, 11), Image.Resampling.LANCZOS),
        lambda: crop_image(image[:, ::-1], np.array([10_000, 500, 20_000.0]), 224),
        lambda: _shrunk(image, (448, 22)),
    ]
    for call in calls:
        assert peak_megabytes(call) < 40
    assert pad_to_square(image).nbytes < 52e6 and padded_side(image) == 20_000


def _refusing(frombuffer):
    def small(mode, size, *options):
        assert size[0] * size[1] <= 6e6, size
        return frombuffer(mode, size, *options)

    return small
