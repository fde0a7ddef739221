"""Finding the hands of whole photos, where the caller asks for it with `boxes="detect"`."""

from dataclasses import dataclass

import numpy as np
import torch

from ..detection import BuiltinHandDetector
from ..errors import InputError
from ..images import load_images
from .inputs import HandRequest, check_request


@dataclass
class HandsToSample:
    """The arguments of a call that go by image, one row a hand where the hands were detected.

    Attributes:
        images, handedness, boxes, intrinsics, generator: as the pipelines take them.
        image_indices: which image each hand was found in; None where nothing was detected.
    """

    images: object
    handedness: object
    boxes: object
    intrinsics: object
    generator: object
    image_indices: list[int] | None = None

    def request(self, keypoints_2d=None, keypoint_scores=None, num_hands_without_2d=None) -> HandRequest:
        """The checked request."""
        request = check_request(
            self.images,
            self.handedness,
            self.boxes,
            keypoints_2d,
            keypoint_scores,
            self.intrinsics,
            num_hands_without_2d=num_hands_without_2d,
        )
        if self.image_indices is not None:
            request.image_indices = torch.tensor(self.image_indices)
            request.boxes = torch.as_tensor(self.boxes)
        return request


def hands_to_sample(
    hand_detector, images, handedness, boxes, keypoints_2d, intrinsics, generator, joints=None
) -> HandsToSample:
    """The hands of a call: one an image, or with `boxes="detect"` those that `hand_detector` finds.

    Raises:
        InputError: `boxes` is another word; there is no detector; an argument does not go with it; no image has a hand.
    """
    if not isinstance(boxes, str):
        return HandsToSample(images, handedness, boxes, intrinsics, generator)
    _check(hand_detector, images, handedness, boxes, keypoints_2d, joints)
    loaded = load_images(images)
    detector = BuiltinHandDetector(hand_detector)
    found = [(index, hand) for index, image in enumerate(loaded) for hand in detector.detect(image)]
    if not found:
        where = "the image" if len(loaded) == 1 else f"any of {len(loaded)} images"
        raise InputError(f"boxes: the detector found no hand in {where}; give its place as (x0, y0, x1, y1) px")
    indices = [index for index, _ in found]
    return HandsToSample(
        images=[loaded[index] for index in indices],
        handedness=[hand.handedness for _, hand in found],
        boxes=np.stack([hand.box for _, hand in found]).astype(np.float32),
        intrinsics=_rows(intrinsics, indices, len(loaded)),
        generator=_per_hand(generator, indices, len(loaded)),
        image_indices=indices,
    )


def _check(hand_detector, images, handedness, boxes, keypoints_2d, joints) -> None:
    if boxes != "detect":
        raise InputError(f"boxes: expected 'detect', None or an array of numbers (x0, y0, x1, y1) px, got {boxes!r}")
    if hand_detector is None:
        raise InputError("boxes: 'detect' expects a checkpoint with a hand_detector, but this one has none")
    if images is None:
        raise InputError("images: expected one image or a list of at least one to detect hands in, got None")
    for name, given in (("keypoints_2d", keypoints_2d), ("joints", joints)):
        if given is not None:
            raise InputError(f"{name}: expected None together with boxes='detect', which says how many hands there are")
    if not (isinstance(handedness, str) and handedness == "right"):
        raise InputError("handedness: expected to be left out together with boxes='detect', which finds the sides")


def _rows(intrinsics, indices: list[int], count: int):
    """The camera of each hand's image: (3, 3), or (count, 3, 3) px, or None."""
    if intrinsics is None:
        return None
    cameras = np.asarray(intrinsics.cpu() if isinstance(intrinsics, torch.Tensor) else intrinsics)
    if cameras.shape == (3, 3) and count == 1:
        cameras = cameras[None]
    if cameras.shape != (count, 3, 3):
        raise InputError(f"intrinsics: expected an array of shape {(count, 3, 3)}, got shape {cameras.shape}")
    return cameras[indices]


def _per_hand(generator, indices: list[int], count: int):
    """The seed of each hand's image, drawn once an image from a generator; hands of one image share it."""
    if not isinstance(generator, (list, tuple)) or len(generator) != count:
        return generator
    from .noise import base_seeds

    seeds = base_seeds(generator, count)
    return [seeds[index] for index in indices]
