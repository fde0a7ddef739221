"""Photos in other colour spaces than sRGB are seen as viewers show them."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from hf_handdiff.images import load_image

# Columns of the chromatically adapted (D50) primaries, and the gamma, of a wide space like Display P3.
WIDE = {"rXYZ": (0.5151, 0.2412, -0.0011), "gXYZ": (0.2920, 0.6922, 0.0419), "bXYZ": (0.1571, 0.0666, 0.7841)}
GAMMA = 2.2


def fixed(*values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def wide_profile() -> bytes:
    """An ICC profile, version 2, of three primaries and a gamma."""
    tags = {name: b"XYZ " + bytes(4) + fixed(*values) for name, values in WIDE.items()}
    tags["wtpt"] = b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(GAMMA * 256))
    tags |= {name: curve for name in ("rTRC", "gTRC", "bTRC")}
    name = b"wide\0"
    tags["desc"] = b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(79)
    tags["cprt"] = b"text" + bytes(4) + b"none\0"
    offset, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for signature, content in tags.items():
        table += signature.encode() + struct.pack(">II", offset + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + body


def expected_srgb(colour):
    """By the definition of both spaces: linear light, XYZ, linear sRGB, the curve of sRGB."""
    linear = (np.asarray(colour) / 255) ** GAMMA
    xyz = np.stack(list(WIDE.values()), axis=1) @ linear
    to_srgb = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]  # from D50
    light = np.clip(np.asarray(to_srgb) @ xyz, 0, 1)
    return 255 * np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("colour", [(200, 150, 120), (90, 60, 45), (60, 180, 90)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_colour_of_a_wide_space_comes_in_srgb(colour, suffix, tmp_path):
    path = tmp_path / f"phone{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {"quality": 100} if suffix == ".jpg" else {}
    Image.new("RGB", (8, 8), colour).save(path, icc_profile=wide_profile(), **options)
    seen = load_image(path)
    assert seen.shape == (8, 8, 3)
    assert np.abs(seen[4, 4] - expected_srgb(colour)).max() < 2.5
    assert np.abs(seen[4, 4].astype(int) - colour).max() >= 3  # the profile counts
    np.testing.assert_array_equal(load_image(Image.open(path)), seen)


def test_transparent_pixels_of_a_wide_space_lie_on_white(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, :3] = (200, 150, 120, 255)
    Image.fromarray(pixels).save(tmp_path / "alpha.png", icc_profile=wide_profile())
    seen = load_image(tmp_path / "alpha.png")
    assert np.abs(seen[:, :3] - expected_srgb((200, 150, 120))).max() < 2.5
    assert (seen[:, 3:] == 255).all()


@pytest.mark.parametrize("profile", ["sRGB", "damaged", "short", "empty"])
def test_pixels_stay_with_a_profile_of_srgb_or_a_damaged_one(profile, tmp_path):
    if profile == "sRGB":
        content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    else:
        content = {"damaged": wide_profile()[:60] + b"\xff" * 300, "short": b"icc", "empty": b""}[profile]
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png", icc_profile=content)
    np.testing.assert_array_equal(load_image(tmp_path / "photo.png"), pixels)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "YCbCr"])
def test_a_profile_of_other_colours_than_the_pixels_does_no_harm(mode):
    image = Image.new("RGB", (8, 8), (200, 150, 120)).convert(mode)
    plain = load_image(image)
    image.info["icc_profile"] = wide_profile()
    assert np.abs(load_image(image).astype(int) - plain).max() < 30
