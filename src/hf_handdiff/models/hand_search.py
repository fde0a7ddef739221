"""Finding hands in photos of whole people: with our own detector, or with MediaPipe (the extra ``[mediapipe]``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.images import ImageInput, load_image

if TYPE_CHECKING:
    from hf_handdiff.models import HandDetector
    from hf_handdiff.models.hand_detector import Palms

INSTALL_MEDIAPIPE = (
    "the MediaPipe hand detector is not installed; install it with: pip install 'hf_handdiff[mediapipe]'"
)

_TILE_SHARES = (1.0, 0.5)
"""Sides of the square windows that are searched, as shares of the photo's longer side."""
_TILE_OVERLAP = 0.5
_SAME_HAND_OVERLAP = 0.45
_SMALL_PHOTO = 1.5
"""A photo of up to so many times the size that the palm network was trained on is not searched any larger than that."""
_MOST_CANDIDATES = 12
"""The most palms of a photo that are looked at closely, surest first."""


@dataclass(frozen=True)
class DetectedHand:
    """One hand in a photo.

    Attributes:
        box: (4,) float64 x0, y0, x1, y1 px, tight around the 21 keypoints.
        handedness: "right" or "left", of the person, in a photo that is not mirrored.
        score: 0..1, how sure the detector is: MediaPipe of the side, our own that it is a hand, seen both ways.
        keypoints: (21, 2) px, in the order of `hand.topology.JOINT_NAMES`.
    """

    box: np.ndarray
    handedness: str
    score: float
    keypoints: np.ndarray


class BuiltinHandDetector:
    """Our own detector: palms in the whole photo, seen coarsely and finely, then a close look at each of them.

    The palm network has no fixed size of picture: it is run on the photo at each of the config's `search_sizes`. The
    close look is at the photo itself, and at its mirror image: what is a hand looks like one both ways, and the side
    is the surer for it.

    Args:
        network: the networks; None: those of the checkpoint that comes with the package.
        min_score: palms below it are dropped, 0..1; None: the network's own threshold.
        max_hands: the most hands that are returned for a photo.

    Raises:
        InputError: the checkpoint has no detector.
    """

    def __init__(self, network: HandDetector | None = None, min_score: float | None = None, max_hands: int = 8):
        self._network = load_hand_detector() if network is None else network
        self._min_score = min_score
        self._max_hands = max_hands

    def detect(self, image: ImageInput) -> list[DetectedHand]:
        """Return the hands of a photo, largest first.

        Args:
            image: a path, a PIL.Image or an (H, W, 3) uint8 array, not mirrored.
        """
        pixels = load_image(image, "image")
        palms = self._palms(pixels)
        if len(palms.scores) == 0:
            return []
        return _without_duplicates(self._look_closely(pixels, palms))[: self._max_hands]

    def _palms(self, pixels: np.ndarray) -> Palms:
        """The surest palms of a photo, in px, each palm once."""
        import torch

        from hf_handdiff.models.hand_detector import Palms, merge_palms

        config = self._network.config
        height, width = pixels.shape[:2]
        boxes, points, scores = [], [], []
        for picture in _pictures_to_search(pixels, config.search_sizes, config.image_size):
            (palms,) = self._network.palms(torch.from_numpy(picture.pixels)[None], self._min_score)
            shares_to_px = torch.tensor([width / picture.shares[0], height / picture.shares[1]])
            boxes.append(palms.boxes * shares_to_px.repeat(2))
            points.append(palms.points * shares_to_px)
            scores.append(palms.scores)
        merged = merge_palms(torch.cat(boxes), torch.cat(points), torch.cat(scores), config.same_palm_overlap)
        surest = slice(_MOST_CANDIDATES)
        return Palms(merged.boxes[surest], merged.points[surest], merged.scores[surest])

    def _look_closely(self, pixels: np.ndarray, palms: Palms) -> list[DetectedHand]:
        """The palms, in px, that are hands, with keypoints and sides."""
        import torch

        from hf_handdiff.camera import crop_image, crop_to_pixels
        from hf_handdiff.models.hand_detector import hand_squares
        from hf_handdiff.models.hand_framing import HandFrame

        config = self._network.config
        frame = hand_squares(palms.boxes, palms.points)
        # An upright crop that holds the turned square, then the square out of it: PIL averages where it shrinks.
        reach = frame.angle.cos().abs() + frame.angle.sin().abs()
        crops = torch.cat([frame.centre, (frame.side * reach)[:, None]], dim=-1)  # (K, 3) px
        size = int(1.5 * config.hand_size)
        views = torch.stack([crop_image(pixels, crop.numpy(), size) for crop in crops])
        in_crop = HandFrame(torch.full_like(frame.centre, 0.5), 1 / reach, frame.angle)
        found = self._network.hands_both_ways(in_crop.crop(views, config.hand_size))
        are_hands = self._network.are_hands(found, palms.scores).tolist()
        keypoints = crop_to_pixels(in_crop.from_square(found.keypoints), crops).double().numpy()
        hands = []
        for k, score in enumerate(found.hand_score.tolist()):
            low, high = keypoints[k].min(axis=0), keypoints[k].max(axis=0)
            if not are_hands[k] or not _inside(low, high, pixels.shape):
                continue
            hands.append(
                DetectedHand(
                    box=np.concatenate([low, high]),
                    handedness="right" if found.right_score[k] >= 0.5 else "left",
                    score=score,
                    keypoints=keypoints[k],
                )
            )
        return hands


@dataclass(frozen=True)
class _SearchPicture:
    """A photo as the palm network takes it.

    Attributes:
        pixels: (3, H, W) float32 0..1, the photo in the upper left corner, black beside and below it.
        shares: of the width and of the height that the photo takes up.
    """

    pixels: np.ndarray
    shares: tuple[float, float]


def _pictures_to_search(photo: np.ndarray, sizes: tuple[int, ...], trained_size: int) -> Iterator[_SearchPicture]:
    """A photo (H, W, 3) uint8 at each of several sizes of its longer side in px, the finest first.

    Each is made from the finer one before it: reading all pixels of a large photo once is enough.
    """
    from PIL import Image

    from hf_handdiff.models.hand_detector import STRIDE

    height, width = photo.shape[:2]
    longer = max(height, width)
    most = trained_size if longer <= _SMALL_PHOTO * trained_size else longer
    image = Image.fromarray(photo)
    for size in sorted({min(size, most) for size in sizes}, reverse=True):
        shape = tuple(max(1, round(side * size / longer)) for side in (width, height))
        image = image.resize(shape, Image.Resampling.BILINEAR, reducing_gap=2.0)
        padded = np.zeros((3, *(-(-side // STRIDE) * STRIDE for side in reversed(shape))), np.float32)
        padded[:, : shape[1], : shape[0]] = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255.0
        yield _SearchPicture(padded, (shape[0] / padded.shape[2], shape[1] / padded.shape[1]))


def load_hand_detector(checkpoint: str | Path | None = None) -> HandDetector:
    """Load the hand detector of a checkpoint folder; None is the checkpoint that comes with the package.

    Raises:
        InputError: the checkpoint has none, or its files cannot be read.
    """
    import transformers

    from hf_handdiff import DEFAULT_CHECKPOINT
    from hf_handdiff.models import HandDetector

    transformers.utils.logging.disable_progress_bar()
    folder = Path(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint) / "hand_detector"
    if not (folder / "config.json").is_file():
        raise InputError(f"detector: expected a checkpoint with a hand_detector, but there is no {folder}")
    try:
        return HandDetector.from_pretrained(folder).eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"detector: {folder} cannot be loaded: {str(error).strip().splitlines()[0]}") from error


class MediaPipeHandDetector:
    """MediaPipe's palm detector and landmark network, run on the whole photo and on overlapping parts of it.

    The palm detector sees 192 x 192 pixels, so the hands of a person who stands a few metres away are only
    found in parts of the photo.

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
            image: a path, a PIL.Image or an (H, W, 3) uint8 array, not mirrored.
        """
        pixels = load_image(image, "image")
        found = []
        for left, top, right, bottom in _windows(pixels.shape[0], pixels.shape[1]):
            found += self._detect_in_window(pixels[top:bottom, left:right], left, top, pixels.shape)
        return _without_duplicates(found)[: self._max_hands]

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
            keypoints = shares * len(square) + (left, top)
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
    """MediaPipe's hand solution for single images.

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
    return Hands(
        static_image_mode=True,
        max_num_hands=max_num_hands,
        model_complexity=1,
        min_detection_confidence=min_score,
    )


def pad_to_square(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 in the upper left corner of a black square: landmarks suffer where a picture is not square."""
    square = np.zeros((max(image.shape[:2]), max(image.shape[:2]), 3), np.uint8)
    square[: image.shape[0], : image.shape[1]] = image
    return square


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
    margin = 0.02 * max(height, width)
    return bool(
        (left > 0 and x.min() < margin)
        or (top > 0 and y.min() < margin)
        or (left + width < photo_shape[1] and x.max() > width - margin)
        or (top + height < photo_shape[0] and y.max() > height - margin)
    )


def _inside(low: np.ndarray, high: np.ndarray, photo_shape: tuple[int, ...]) -> bool:
    """Tell whether at least half of a box, low and high corner (2,) px, lies in the photo, and it has pixels."""
    size = np.array([photo_shape[1], photo_shape[0]])
    seen = np.minimum(high, size) - np.maximum(low, 0)
    return bool((high - low).min() > 0 and seen.min() > 0 and seen.prod() >= 0.5 * (high - low).prod())


def _without_duplicates(hands: list[DetectedHand]) -> list[DetectedHand]:
    """Keep one detection of each hand, the surest, and return them by size."""
    kept: list[DetectedHand] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        if all(_overlap(hand.box, other.box) < _SAME_HAND_OVERLAP for other in kept):
            kept.append(hand)
    return sorted(kept, key=lambda hand: -_area(hand.box))


def _area(box: np.ndarray) -> float:
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the area that two boxes share, over the smaller one's area."""
    shared = np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])])
    return _area(shared) / max(min(_area(a), _area(b)), 1e-9)
