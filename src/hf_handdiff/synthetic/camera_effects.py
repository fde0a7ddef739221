"""What a camera does to a scene: exposure, white balance, noise by how much light there is, a hand that moves.

What needs the pixels alone (low resolution, strong compression, a shaken or unfocused camera) is left to
`hf_handdiff.data.augmentation`, which does it to photos as well.
"""

import cv2
import numba
import numpy as np

GREY_SHARE = 0.02
METERED_LEVEL, METERING = 0.5, 0.65  # automatic exposure: the middle of the picture goes this far toward the level
NOISE, LOW_LIGHT_NOISE = (0.002, 0.018), (0.03, 0.1)
MOVING_PX = (4.0, 16.0)
JPEG_QUALITY = (80, 97)
DENOISED_SHARE = 0.7


def apply_camera_effects(image: np.ndarray, rng: np.random.Generator, low_light: bool = False) -> np.ndarray:
    """A rendered image (H, W, 3) float32 0..1 as a camera would give it: (H, W, 3) uint8.

    All effects are centred, so that points keep their place. low_light: with the noise of very little light.
    """
    image = _lens_blur(image, rng)
    gain = automatic_exposure(image) * 2.0 ** rng.normal(0.0, 0.15) * (1.0 + rng.normal(0.0, 0.035, 3))
    lift, contrast = rng.normal(0.0, 0.012), 1.05 + rng.normal(0.0, 0.08)
    saturation = np.clip(1.0 + rng.normal(0.0, 0.12), 0.0, 1.6) if rng.random() > GREY_SHARE else 0.0
    noise = np.exp(rng.uniform(*np.log(LOW_LIGHT_NOISE if low_light else NOISE)))
    grain = rng.standard_normal(image.shape, np.float32)
    if rng.random() < DENOISED_SHARE:  # what a camera's own noise reduction leaves is soft
        grain = cv2.GaussianBlur(grain, (3, 3), 0.7)
    settings = np.array([*gain, contrast, lift, saturation, noise], np.float32)
    return develop(np.ascontiguousarray(image, np.float32), grain, settings)


def automatic_exposure(image: np.ndarray) -> float:
    """The gain by which a camera that meters the middle of `image` (H, W, 3) brings it nearer to mid-grey."""
    margin = image.shape[0] // 5
    level = float(image[margin:-margin:2, margin:-margin:2].mean())
    return (METERED_LEVEL / max(level, 0.05)) ** METERING


def _lens_blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sharp or softly blurred."""
    if rng.random() < 0.6:
        return cv2.GaussianBlur(image, (0, 0), float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))))
    return image


def blur_moving(image: np.ndarray, background: np.ndarray, covered: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What moves before a still background, while the shutter is open: (H, W, 3) float32.

    image, background (H, W, 3) float32 0..1; covered (H, W) float32 0..1: how much of a pixel
    shows what moves.
    """
    alpha = covered[..., None]
    layer = np.concatenate([image - background * (1.0 - alpha), alpha], axis=2).astype(np.float32)
    layer = motion_blur(layer, rng.uniform(*MOVING_PX), rng.uniform(0.0, np.pi))
    return layer[..., :3] + background * (1.0 - layer[..., 3:])


@numba.njit(cache=True, fastmath=True)
def develop(image, grain, settings):
    """Exposure and white balance, contrast, saturation and noise in one pass: (H, W, 3) float32 to uint8.

    grain (H, W, 3) of unit normal noise; settings (7,): the gains of red, green and blue, contrast, lift,
    saturation, and the noise of a bright pixel.
    """
    height, width = image.shape[:2]
    developed = np.empty((height, width, 3), np.uint8)
    middle, one, half = np.float32(0.45), np.float32(1), np.float32(0.5)
    contrast, lift, saturation, noise = settings[3], settings[4] + middle, settings[5], settings[6]
    for y in range(height):
        for x in range(width):
            red = (image[y, x, 0] * settings[0] - middle) * contrast + lift
            green = (image[y, x, 1] * settings[1] - middle) * contrast + lift
            blue = (image[y, x, 2] * settings[2] - middle) * contrast + lift
            grey = (red + green + blue) / np.float32(3)
            for k, value in enumerate((red, green, blue)):
                value = min(max(grey + (value - grey) * saturation, np.float32(0)), one)
                value += grain[y, x, k] * noise * (half + half * np.sqrt(value))
                developed[y, x, k] = np.uint8(min(max(value, np.float32(0)), one) * np.float32(255) + half)
    return developed


def motion_blur(image: np.ndarray, length_px: float, angle_rad: float) -> np.ndarray:
    """Blur along a straight line of `length_px` through the middle of the kernel."""
    size = 2 * int(np.ceil(length_px / 2)) + 3
    kernel = np.zeros((size, size), np.float32)
    steps = np.linspace(-0.5, 0.5, 4 * size)[:, None] * length_px * np.array([np.cos(angle_rad), np.sin(angle_rad)])
    columns, rows = np.round(steps + size // 2).astype(int).T
    np.add.at(kernel, (rows, columns), 1.0)
    kernel = kernel + kernel[::-1, ::-1]
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def encode_jpeg(image: np.ndarray, rng: np.random.Generator) -> bytes:
    """JPEG bytes of an RGB image (H, W, 3) uint8, of a random good quality."""
    quality = int(rng.integers(*JPEG_QUALITY))
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise RuntimeError("OpenCV could not encode a rendered image as JPEG")
    return data.tobytes()
