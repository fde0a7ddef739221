"""Finding hands in photos of whole people with the built-in hand detector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

from hf_handdiff import DEFAULT_CHECKPOINT
from hf_handdiff.camera import crop_image, crop_to_pixels
from hf_handdiff.errors import InputError, first_line
from hf_handdiff.images import ImageInput, load_image
from hf_handdiff.models.boxes import box_area, intersection_over_smaller
from hf_handdiff.models.hand_detector import STRIDE, HandDetector, Palms, hand_squares, merge_palms
from hf_handdiff.models.hand_framing import HandFrame
from hf_handdiff.resizing import reduce_blocks

_SAME_HAND_OVERLAP = 0.45
"""Two boxes of which this share of the smaller one is common are of one hand."""
_SMALL_PHOTO = 1.5
"""A photo of up to so many times the size that the palm network was trained on is not searched any larger than that."""
_MOST_CANDIDATES = 12
"""The most palms of a photo that are looked at closely, surest first."""
_FILTER, _GAP = Image.Resampling.BILINEAR, 2.0
_CLOSE_VIEW_SCALE = 1.5
"""Side of the upright crop that a hand's turned square is cut from, over the side of that square in px."""


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
            image: a path, a PIL.Image or an (H, W, 3) uint8 RGB array, not mirrored.
        """
        pixels = load_image(image, "image")
        palms = self._palms(pixels)
        if len(palms.scores) == 0:
            return []
        return without_duplicates(self._look_closely(pixels, palms))[: self._max_hands]

    def _palms(self, pixels: np.ndarray) -> Palms:
        """The surest palms of a photo, in px, each palm once."""
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
        config = self._network.config
        frame = hand_squares(palms.boxes, palms.points)
        # An upright crop that holds the turned square, then the square out of it: PIL averages where it shrinks.
        reach = frame.angle.cos().abs() + frame.angle.sin().abs()
        crops = torch.cat([frame.centre, (frame.side * reach)[:, None]], dim=-1)  # (K, 3) px
        size = int(_CLOSE_VIEW_SCALE * config.hand_size)
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
    """A photo (H, W, 3) uint8 RGB at each of several sizes of its longer side in px, the finest first.

    Each is made from the finer one before it: reading all pixels of a large photo once is enough.
    """
    height, width = photo.shape[:2]
    longer = max(height, width)
    most = trained_size if longer <= _SMALL_PHOTO * trained_size else longer
    image = None
    for size in sorted({min(size, most) for size in sizes}, reverse=True):
        shape = tuple(max(1, round(side * size / longer)) for side in (width, height))
        image = _shrunk(photo, shape) if image is None else image.resize(shape, _FILTER, reducing_gap=_GAP)
        padded = np.zeros((3, *(-(-side // STRIDE) * STRIDE for side in reversed(shape))), np.float32)
        padded[:, : shape[1], : shape[0]] = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255.0
        yield _SearchPicture(padded, (shape[0] / padded.shape[2], shape[1] / padded.shape[1]))


def _shrunk(photo: np.ndarray, shape: tuple[int, int]) -> Image.Image:
    """`Image.resize` with its `reducing_gap`, but without a copy of the whole photo where it is large."""
    height, width = photo.shape[:2]
    block = tuple(max(int(side / small / _GAP), 1) for side, small in zip((width, height), shape, strict=True))
    reduced = Image.fromarray(photo if block == (1, 1) else reduce_blocks(photo, block))
    return reduced.resize(shape, _FILTER, box=(0, 0, width / block[0], height / block[1]))


def load_hand_detector(checkpoint: str | Path | None = None) -> HandDetector:
    """Load the hand detector of a checkpoint folder; None is the checkpoint that comes with the package.

    Raises:
        InputError: the checkpoint has none, or its files cannot be read.
    """
    logging.disable_progress_bar()
    folder = Path(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint) / "hand_detector"
    if not (folder / "config.json").is_file():
        raise InputError(f"detector: expected a checkpoint with a hand_detector, but there is no {folder}")
    try:
        return HandDetector.from_pretrained(folder).eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"detector: {folder} cannot be loaded: {first_line(error)}") from error


def _inside(low: np.ndarray, high: np.ndarray, photo_shape: tuple[int, ...]) -> bool:
    """Tell whether at least half of a box, low and high corner (2,) px, lies in the photo, and it has pixels."""
    size = np.array([photo_shape[1], photo_shape[0]])
    seen = np.minimum(high, size) - np.maximum(low, 0)
    return bool((high - low).min() > 0 and seen.min() > 0 and seen.prod() >= 0.5 * (high - low).prod())


def without_duplicates(hands: list[DetectedHand]) -> list[DetectedHand]:
    """Keep one detection of each hand, the surest, and return them by size."""
    kept: list[DetectedHand] = []
    for hand in sorted(hands, key=lambda hand: -hand.score):
        if all(intersection_over_smaller(hand.box, other.box) < _SAME_HAND_OVERLAP for other in kept):
            kept.append(hand)
    return sorted(kept, key=lambda hand: -float(box_area(hand.box)))
