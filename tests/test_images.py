"""Loading images: every way in gives the same upright RGB array; every bad one a one-line error."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hf_handdiff.errors import InputError
from hf_handdiff.images import IMAGE_FORMATS, IMAGE_SUFFIXES, decode_image, load_image, load_images, readable_formats


@pytest.fixture
def gradient() -> np.ndarray:
    rows, columns = np.mgrid[0:20, 0:30]
    return np.stack([rows * 10, columns * 8, np.full_like(rows, 40)], axis=-1).astype(np.uint8)


def test_path_pil_and_array_agree(tmp_path, gradient):
    path = tmp_path / "photo.png"
    Image.fromarray(gradient).save(path)
    for source in (path, str(path), Image.fromarray(gradient), Image.open(path), gradient):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8 and loaded.flags.c_contiguous
        np.testing.assert_array_equal(loaded, gradient)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, gradient, orientation):
    """Stored as a phone would store it, an image comes back upright, from the path and as PIL image."""
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = Image.fromarray(gradient) if inverse is None else Image.fromarray(gradient).transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "phone.png"
    stored.save(path, exif=exif)
    np.testing.assert_array_equal(load_image(path), gradient)
    np.testing.assert_array_equal(load_image(Image.open(path)), gradient)


def test_transparent_pixels_lie_on_white(tmp_path):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, :3] = (200, 10, 20, 255)
    image = Image.fromarray(rgba)
    image.save(tmp_path / "alpha.png")
    loaded = load_image(tmp_path / "alpha.png")
    assert (loaded[:, :3] == (200, 10, 20)).all() and (loaded[:, 3:] == 255).all()
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="L").convert("P")
    palette.info["transparency"] = 1
    assert load_image(palette).shape == (1, 2, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(mode, gradient):
    image = Image.new("LAB", (30, 20)) if mode == "LAB" else Image.fromarray(gradient).convert(mode)
    assert load_image(image).shape == (20, 30, 3)


def test_grey_and_sixteen_bits_keep_their_levels(tmp_path, gradient):
    grey = gradient[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for path in ("grey.png", "deep.png"):
        np.testing.assert_array_equal(load_image(tmp_path / path), np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(load_image(Image.fromarray(grey.astype(np.int32) * 257))[..., 0], grey)


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    red = load_image(tmp_path / "print.jpg")[4, 4]
    assert red[0] > 200 and red[1] < 60 and red[2] < 60


def test_load_images_takes_one_or_a_list(gradient):
    assert len(load_images(gradient)) == 1
    assert [image.shape for image in load_images([gradient, Image.fromarray(gradient[:5])])] == [
        (20, 30, 3),
        (5, 30, 3),
    ]


def expect_error(call, *fragments):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message
    assert isinstance(caught.value, ValueError)


def test_bad_files(tmp_path, gradient):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    expect_error(lambda: load_image(tmp_path / "missing.png"), "images", "no file", "missing.png")
    expect_error(lambda: load_image(""), "images", "no file")
    expect_error(lambda: load_image(tmp_path, "photo"), "photo", "folder")
    expect_error(lambda: load_image(tmp_path / "text.jpg"), "images", "not an image")
    expect_error(lambda: load_image(tmp_path / "empty.png"), "images", "not an image")
    expect_error(lambda: load_image("https://example.org/hand.jpg"), "images", "local file")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_truncated_file(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    expect_error(lambda: load_image(path), "images", "cut")


def test_bad_arrays_and_types(gradient):
    expect_error(lambda: load_image(gradient.astype(np.float32)), "images", "uint8", "float32")
    expect_error(lambda: load_image(gradient[..., 0]), "images", "(H, W, 3)", "(20, 30)")
    expect_error(lambda: load_image(gradient.transpose(2, 0, 1)), "images", "(H, W, 3)")
    expect_error(lambda: load_image(gradient[:0]), "images", "no pixels")
    expect_error(lambda: load_image(Image.new("RGB", (0, 4))), "images", "no pixels")
    expect_error(lambda: load_image(None), "images", "expected an image", "NoneType")
    expect_error(lambda: load_image(b"bytes"), "images", "expected an image", "bytes")
    expect_error(lambda: load_image(Image.new("F", (3, 3))), "images", "floating-point")
    expect_error(lambda: load_image(Image.fromarray(np.full((3, 3), 100_000, np.int32))), "images", "65535")


def test_bad_lists(gradient):
    expect_error(lambda: load_images([]), "images", "empty list")
    expect_error(lambda: load_images([gradient, gradient[..., 0]]), "images[1]", "(20, 30)")


def test_an_eps_is_refused_by_any_name_and_starts_no_program(tmp_path, gradient, called_programs):
    path = tmp_path / "photo.jpg"
    Image.fromarray(gradient).save(path, "EPS")
    formats = "JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM"
    expect_error(lambda: load_image(path), "images", "photo.jpg", formats)
    expect_error(lambda: decode_image(path.read_bytes(), "data"), "data", formats)
    with Image.open(path) as image:
        expect_error(lambda: load_image(image), "images", "EPS")
    assert not called_programs()


def test_every_format_of_the_list_is_read_and_no_other(tmp_path, gradient):
    for kind in readable_formats():
        Image.fromarray(gradient).save(tmp_path / "photo", kind)
        assert load_image(tmp_path / "photo").shape == gradient.shape, kind
    others = set(Image.SAVE) - set(IMAGE_FORMATS) - {"MPO"}  # an MPO is a JPEG file with more behind it
    for kind in sorted(others):
        try:
            Image.fromarray(gradient).save(tmp_path / "photo", kind)
        except (OSError, ValueError, KeyError):  # not written by Pillow, or not in colour
            continue
        expect_error(lambda: load_image(tmp_path / "photo"), "not an image of a format that is read")


def test_suffixes_belong_to_the_formats(gradient):
    Image.init()
    known = {**Image.EXTENSION, ".mpo": "JPEG"}  # an MPO is a JPEG file with more behind it
    assert all(known.get(suffix, name) == name for name, kind in IMAGE_FORMATS.items() for suffix in kind)
    assert len(set(IMAGE_SUFFIXES)) == len(IMAGE_SUFFIXES)


def test_threads_may_share_an_image_that_is_not_read_yet(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "shared.png")
    for _ in range(5):
        image = Image.open(tmp_path / "shared.png")
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(load_image, [image] * 8):
                np.testing.assert_array_equal(found, pixels)
