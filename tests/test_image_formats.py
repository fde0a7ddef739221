"""Photos as phones, scanners and printers make them: read rightly, or refused in one sentence."""

import io
import struct
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image

from hf_handdiff import image_formats
from hf_handdiff.errors import InputError
from hf_handdiff.image_formats import IMAGE_FORMATS, is_animated, open_image, readable_formats
from hf_handdiff.images import decode_image, load_image

LEVELS = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
COLOURS = np.stack([LEVELS, LEVELS[:, ::-1], np.full_like(LEVELS, 40)], axis=-1)
GREY = np.repeat(LEVELS[..., None], 3, axis=-1)


def bytes_of(image, kind, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def tiff(samples: bytes, bits: int, photometric: int = 1, more=()) -> bytes:
    """A grey TIFF file of 64 x 48 px without compression."""
    tags = [(256, 3, 64), (257, 3, 48), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, None), (277, 3, 1)]
    tags = sorted([*tags, (278, 3, 48), (279, 4, len(samples)), *more])
    start = 8 + 2 + 12 * len(tags) + 4
    entries = (struct.pack("<HHII", tag, kind, 1, start if value is None else value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + samples


def twelve_bits() -> bytes:
    pairs = np.round(LEVELS / 255 * 4095).astype(int).reshape(48, -1, 2)
    first, second = pairs[..., 0], pairs[..., 1]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return packed.astype(np.uint8).tobytes()


def deep_colours(kind: str) -> bytes:
    cv2 = pytest.importorskip("cv2")
    return cv2.imencode(kind, (COLOURS[..., ::-1].astype(np.uint16) * 257))[1].tobytes()


SIXTEEN_BITS = (LEVELS.astype(np.uint16) * 257).tobytes()
ON_WHITE = np.where(GREY == 0, 255, GREY)
DEEP = {
    "16-bit TIFF whose white is 0": (lambda: tiff((65535 - LEVELS.astype(np.uint16) * 257).tobytes(), 16, 0), GREY),
    "12-bit TIFF": (lambda: tiff(twelve_bits(), 12), GREY),
    "16-bit TIFF": (lambda: tiff(SIXTEEN_BITS, 16), GREY),
    "16-bit PNG with a transparent level": (
        lambda: bytes_of(LEVELS.astype(np.uint16) * 257, "PNG", transparency=0),
        ON_WHITE,
    ),
    "16-bit colour PNG": (lambda: deep_colours(".png"), COLOURS),
    "16-bit colour TIFF": (lambda: deep_colours(".tiff"), COLOURS),
    "16-bit JPEG 2000": (lambda: bytes_of(LEVELS.astype(np.uint16) * 257, "JPEG2000"), GREY),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_keep_their_levels(name):
    make, expected = DEEP[name]
    np.testing.assert_allclose(decode_image(make(), "data").astype(int), expected, atol=1)


def test_deep_files_are_turned_upright():
    """What a file says of its levels must outlive the turning."""
    for data, expected in (
        (tiff(twelve_bits(), 12, more=[(274, 3, 6)]), GREY),
        (tiff(SIXTEEN_BITS, 16, 0, more=[(274, 3, 6)]), 255 - GREY),
    ):
        np.testing.assert_allclose(decode_image(data, "data").astype(int), np.rot90(expected, -1), atol=1)


def test_print_and_palette_files():
    cmyk = Image.fromarray(COLOURS).convert("CMYK")
    with_adobe_marker = bytes_of(cmyk, "JPEG", quality=98)
    assert b"Adobe" in with_adobe_marker[:40]  # its values are stored inverted
    for data in (with_adobe_marker, bytes_of(cmyk, "TIFF")):
        np.testing.assert_allclose(decode_image(data, "data").astype(int), COLOURS, atol=6)
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    found = decode_image(bytes_of(palette, "PNG", transparency=bytes([255, 0, 128])), "data")
    assert found[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
    np.testing.assert_allclose(found[0, 2].astype(int), [162, 167, 172], atol=1)


@pytest.mark.parametrize("kind", ["MPO", "WEBP", "GIF", "AVIF"])
def test_of_several_pictures_the_first_is_taken(kind):
    if kind == "AVIF" and kind not in readable_formats():
        pytest.skip("this Pillow is older than AVIF")
    data = bytes_of(COLOURS, kind, save_all=True, append_images=[Image.fromarray(COLOURS[::-1] // 2)])
    assert is_animated(open_image(io.BytesIO(data))) == (kind != "MPO")
    assert np.abs(decode_image(data, "data").astype(int) - COLOURS).mean() < 8


HEIC = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")


def test_a_heic_photo_names_the_extra_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    readable_formats.cache_clear()
    (tmp_path / "IMG_0001.HEIC").write_bytes(HEIC)
    with pytest.raises(InputError, match=r"IMG_0001.HEIC' is a HEIC photo.*pip install 'hf_handdiff\[heif\]'$"):
        load_image(tmp_path / "IMG_0001.HEIC")
    readable_formats.cache_clear()


def test_an_avif_image_names_the_pillow_that_reads_it(monkeypatch):
    monkeypatch.setattr(image_formats, "readable_formats", lambda: ("JPEG", "PNG"))
    data = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"mif1", 0, b"avif", b"miaf")
    with pytest.raises(InputError, match="data: .* is an AVIF image.*pip install -U pillow$"):
        decode_image(data, "data")


def test_an_opener_that_is_installed_is_found_at_run_time(monkeypatch):
    called = []
    monkeypatch.setitem(
        sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=lambda: called.append(1))
    )
    readable_formats.cache_clear()
    assert readable_formats() == readable_formats() and called == [1]
    readable_formats.cache_clear()


def test_heic_photos_are_read(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    readable_formats.cache_clear()
    deep = heif.from_bytes("RGB;16", (64, 48), (COLOURS.astype(np.uint16) * 257).tobytes())
    deep.save(tmp_path / "deep.heic", quality=100)
    heif.from_pillow(Image.fromarray(COLOURS)).save(tmp_path / "photo.heic", quality=100)
    for name in ("deep.heic", "photo.heic"):
        assert np.abs(load_image(tmp_path / name).astype(int) - COLOURS).mean() < 3
    data = (tmp_path / "photo.heic").read_bytes()
    for length in range(30, len(data), 40):
        with pytest.raises(InputError, match="data: .*(damaged|format)"):
            decode_image(data[:length], "data")


def test_the_preview_of_a_raw_file_is_no_photo(tmp_path):
    """Two kinds: what Nikon and Sony write, and DNG, which phones write as well."""
    for number, tag in enumerate([(254, 4, 1), (50706, 4, 1)]):
        path = tmp_path / f"{number}.tif"
        path.write_bytes(tiff(SIXTEEN_BITS, 16, more=[tag]))
        for source in (path, Image.open(path)):
            with pytest.raises(InputError, match="raw file"):
                load_image(source)


def test_more_pixels_than_pillow_takes_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    path = tmp_path / "huge.png"
    Image.fromarray(LEVELS).save(path)
    with pytest.raises(InputError, match="'.*huge.png' has too many pixels to be loaded safely, more than 2,000"):
        load_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as some programs run
        with pytest.raises(InputError, match="too many pixels"):
            load_image(path)


@pytest.mark.parametrize("kind", [name for name in IMAGE_FORMATS if name != "HEIF"])
def test_a_file_that_is_cut_anywhere_is_one_sentence_or_the_photo(kind):
    if kind not in readable_formats():
        pytest.skip("not read here")
    data = bytes_of(COLOURS, kind)
    for length in np.linspace(1, len(data) - 1, 30).astype(int):
        try:
            assert decode_image(data[:length], "data").shape == COLOURS.shape
        except InputError as error:
            assert str(error).startswith("data: a file of bytes ")
