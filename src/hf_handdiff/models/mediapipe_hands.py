"""Finding hands with MediaPipe (the extra ``[mediapipe]``), for comparison with the built-in detector."""

import threading
from collections.abc import Iterator

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.images import ImageInput, load_image
from hf_handdiff.models.hand_search import DetectedHand, without_duplicates
from hf_handdiff.resizing import reduce_blocks

INSTALL_MEDIAPIPE = (
    "the MediaPipe hand detector is not installed; install it with: pip install 'hf_handdiff[mediapipe]'"
)

_TILE_SHARES = (1.0, 0.5)
"""Sides of the square windows that are searched, as shares of the photo's longer side."""
_TILE_OVERLAP = 0.5
_LONGEST_SQUARE = 4096
_EDGE_MARGIN = 0.02
"""A hand this near to a side of its window, as a share of the window's longer side, is taken to be cut off there."""


class MediaPipeHandDetector:
    """MediaPipe's palm detector and landmark network, run on the whole photo and on overlapping parts of it.

    The palm detector sees 192 x 192 pixels, so the hands of a person who stands a few metres away are only
    found in parts of the photo. Several threads may share one.

    Args:
        min_score: detections below it are dropped, 0..1.
        max_hands: the most hands that are looked for in a photo.

    Raises:
        InputError: MediaPipe is not installed.
    """

    def __init__(self, min_score: float = 0.5, max_hands: int = 8):
        self._max_hands = max_hands
        self._hands = load_mediapipe_hands("detector", max_hands, min_score)

    def detect(self, image: ImageInput) -> list[DetectedHand]:
        """Return the hands of a photo, largest first.

        Args:
            image: a path, a PIL.Image or an (H, W, 3) uint8 RGB array, not mirrored.
        """
        pixels = load_image(image, "image")
        found = []
        for left, top, right, bottom in _windows(pixels.shape[0], pixels.shape[1]):
            found += self._detect_in_window(pixels[top:bottom, left:right], left, top, pixels.shape)
        return without_duplicates(found)[: self._max_hands]

    def close(self) -> None:
        """Free MediaPipe's resources."""
        self._hands.close()

    def _detect_in_window(
        self, window: np.ndarray, left: int, top: int, photo_shape: tuple[int, ...]
    ) -> Iterator[DetectedHand]:
        square = pad_to_square(window)
        result = self._hands.process(square)
        for landmarks, sides in zip(result.multi_hand_landmarks or [], result.multi_handedness or [], strict=True):
            shares = np.array([(point.x, point.y) for point in landmarks.landmark], dtype=np.float64)
            keypoints = shares * padded_side(window) + (left, top)
            if _cut_off(keypoints, window, left, top, photo_shape):
                continue
            # MediaPipe names sides as if the picture were a mirrored selfie: in a photo they are swapped.
            side = sides.classification[0]
            yield DetectedHand(
                box=np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)]),
                handedness="left" if side.label == "Right" else "right",
                score=float(side.score),
                keypoints=keypoints,
            )


def load_mediapipe_hands(argument: str, max_num_hands: int, min_score: float = 0.5):
    """MediaPipe's hand solution for single images; several threads may share it.

    Args:
        argument: what asked for it, for the message.
        max_num_hands: the most hands that are looked for in an image.
        min_score: detections below it are dropped, 0..1.

    Raises:
        InputError: MediaPipe is not installed.
    """
    try:
        from mediapipe.python.solutions.hands import Hands
    except ImportError:
        raise InputError(f"{argument}: {INSTALL_MEDIAPIPE}") from None
    return _OneAtATime(
        Hands(
            static_image_mode=True,
            max_num_hands=max_num_hands,
            model_complexity=1,
            min_detection_confidence=min_score,
        )
    )


class _OneAtATime:
    """MediaPipe's solution, whose graph takes one picture at a time: other threads wait."""

    def __init__(self, hands):
        self._hands = hands
        self._lock = threading.Lock()

    def process(self, image: np.ndarray):
        with self._lock:
            return self._hands.process(image)

    def close(self) -> None:
        with self._lock:
            self._hands.close()


def pad_to_square(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB in the upper left corner of a black square: landmarks suffer where a picture is not square.

    A very long picture is made smaller by a whole number, so that the square of a panorama takes little memory;
    MediaPipe looks at some 200 px of it anyway.
    """
    block = _block(image)
    if block > 1:
        image = reduce_blocks(image, (block, block))
    square = np.zeros((max(image.shape[:2]), max(image.shape[:2]), 3), np.uint8)
    square[: image.shape[0], : image.shape[1]] = image
    return square


def padded_side(image: np.ndarray) -> int:
    """Side of the square of `pad_to_square`, in px of the image."""
    block = _block(image)
    return block * -(-max(image.shape[:2]) // block)


def _block(image: np.ndarray) -> int:
    return -(-max(image.shape[:2]) // _LONGEST_SQUARE)


def _windows(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Return overlapping windows (left, top, right, bottom) px that cover a photo at each scale."""
    windows = []
    for share in _TILE_SHARES:
        side = share * max(height, width)
        for top, bottom in _intervals(height, side):
            for left, right in _intervals(width, side):
                windows.append((left, top, right, bottom))
    return windows


def _intervals(length: int, side: float) -> list[tuple[int, int]]:
    if side >= length:
        return [(0, length)]
    count = int(np.ceil((length - side) / (side * (1.0 - _TILE_OVERLAP)))) + 1
    starts = np.linspace(0.0, length - side, count)
    return [(int(start), min(length, int(np.ceil(start + side)))) for start in starts]


def _cut_off(keypoints: np.ndarray, window: np.ndarray, left: int, top: int, photo_shape: tuple[int, ...]) -> bool:
    """Tell whether a hand leaves its window where the photo goes on: another window has all of it."""
    height, width = window.shape[:2]
    x, y = keypoints[:, 0] - left, keypoints[:, 1] - top
    margin = _EDGE_MARGIN * max(height, width)
    return bool(
        (left > 0 and x.min() < margin)
        or (top > 0 and y.min() < margin)
        or (left + width < photo_shape[1] and x.max() > width - margin)
        or (top + height < photo_shape[0] and y.max() > height - margin)
    )
