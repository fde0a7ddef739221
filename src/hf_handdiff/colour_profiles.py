"""Photos whose file names another colour space than sRGB, as phones (Display P3) and printers (CMYK) write them."""

import io
from functools import lru_cache

from PIL import Image, ImageCms

_WITH_COLOURS = ("RGB", "RGBA", "RGBX", "CMYK")


def in_srgb(image: Image.Image) -> Image.Image:
    """A loaded image in sRGB, by the colour profile of its file.

    Images without a profile, with one of sRGB or of another mode, and without colours come back as they are, and so do
    those whose profile is damaged: their pixels are intact.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or image.mode not in _WITH_COLOURS:
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    transform = _to_srgb(profile, image.mode, mode)
    return image if transform is None else transform.apply(image)


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes, mode: str, srgb_mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where there is nothing to do or to be done."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(opened) and mode != "CMYK":
            return None
        return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, srgb_mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
