"""What callers may pass, checked once and put into one form for all three pipelines."""

from dataclasses import dataclass

import numpy as np
import torch

from hf_handdiff import camera
from hf_handdiff.errors import InputError
from hf_handdiff.images import load_images
from hf_handdiff.models.hand_search import BuiltinHandDetector
from hf_handdiff.pipelines.defaults import AGGREGATIONS, HANDEDNESS
from hf_handdiff.pipelines.sampling import base_seeds

_LARGEST_FRACTION, _SMALLEST_SIDE_PX = 1.5, 8
"""2D points within the first are fractions of an image whose sides are longer than the second."""


@dataclass
class HandRequest:
    """A checked request about B hands, mirrored so that all of them are right hands.

    Attributes:
        images: B arrays (H, W, 3) uint8 RGB, or None where only keypoints or joints were given.
        handedness: B strings, as the caller said.
        crops: (B, 3) float32 centre x, centre y, side in px of the (mirrored) image, or None without any 2D.
        widths: (B,) float32: mirroring is x -> width - x.
        intrinsics: (B, 3, 3) float32 of the (mirrored) image: the caller's or the default ones; None without 2D.
        has_intrinsics: whether the caller gave them.
        keypoints: (B, 21, 2) float32 px of the (mirrored) image, NaN = not seen; None: estimate them.
        keypoint_scores: (B, 21) float32; None exactly when `keypoints` is None.
        keypoint_cov: (B, 21, 2, 2) float32 px², where the caller gave them.
        last_keypoints: (B, 21, 2) float32 px of the (mirrored) image, where the hands were a moment ago; or None.
        image_indices: (B,) int64, of the caller's images, where hands were detected in them; else None.
        boxes: (B, 4) float32 px of the caller's images, likewise.
    """

    images: list[np.ndarray] | None
    handedness: list[str]
    crops: torch.Tensor | None
    widths: torch.Tensor
    intrinsics: torch.Tensor | None
    has_intrinsics: bool
    keypoints: torch.Tensor | None
    keypoint_scores: torch.Tensor | None
    keypoint_cov: torch.Tensor | None = None
    last_keypoints: torch.Tensor | None = None
    image_indices: torch.Tensor | None = None
    boxes: torch.Tensor | None = None

    @property
    def is_left(self) -> torch.Tensor:
        """(B,) bool."""
        return torch.tensor([side == "left" for side in self.handedness])


def check_request(
    images,
    handedness="right",
    boxes=None,
    keypoints_2d=None,
    keypoint_scores=None,
    intrinsics=None,
    num_hands_without_2d: int | None = None,
    keypoint_cov=None,
    last_keypoints_2d=None,
) -> HandRequest:
    """Check the arguments that all pipelines share.

    Args:
        images: one or a list of paths, PIL images or (H, W, 3) uint8 RGB arrays; None where keypoints (or, for
            `num_hands_without_2d`, joints) stand in for them.
        handedness: "left" or "right", or one an image.
        boxes: (B, 4) xyxy px, or (4,) for one image.
        keypoints_2d: (B, 21, 2) px, or (21, 2) for one image; NaN = not seen.
        keypoint_scores: (B, 21) 0..1, or (21,); only together with `keypoints_2d`.
        intrinsics: (B, 3, 3) px, or (3, 3).
        num_hands_without_2d: how many hands are asked for if there are neither images nor keypoints.
        keypoint_cov: (B, 21, 2, 2) px² of `keypoints_2d`, or (21, 2, 2); only together with them, without scores.
        last_keypoints_2d: (B, 21, 2) px, or (21, 2) for one image; only together with images.

    Raises:
        InputError: one sentence that names the argument and what was expected.
    """
    loaded = None if images is None else load_images(images)
    count = _count(loaded, keypoints_2d, num_hands_without_2d)
    sides = _check_handedness(handedness, count)
    keypoints, scores = _check_keypoints(keypoints_2d, keypoint_scores, count)
    covariance = _check_keypoint_cov(keypoint_cov, keypoints, keypoint_scores, count)
    cameras = _check_intrinsics(intrinsics, count)
    _check_keypoints_are_pixels(keypoints, loaded, cameras, "keypoints_2d")
    last = _check_last_keypoints(last_keypoints_2d, loaded, count)
    crops = _crops(loaded, boxes, keypoints, count)
    if crops is None:
        return HandRequest(None, sides, None, torch.zeros(count), None, False, None, None)

    if loaded is not None:
        widths = torch.tensor([float(image.shape[1]) for image in loaded])
    else:  # no image to mirror in: any vertical line will do
        widths = 2 * (crops[:, 0] if cameras is None else cameras[:, 0, 2])
    request = HandRequest(
        loaded, sides, crops, widths, cameras, cameras is not None, keypoints, scores, covariance, last
    )
    _mirror_left_hands(request)
    if request.intrinsics is None:
        request.intrinsics = camera.default_intrinsics(request.crops)
    return request


def check_sampling(num_hypotheses, num_inference_steps, aggregation, output_type, guidance_scale, fit=None) -> None:
    """Check the arguments that steer sampling; None means the checkpoint's default.

    Raises:
        InputError: one sentence that names the argument and what was expected.
    """
    _check_positive_int(num_hypotheses, "num_hypotheses", 10000)
    for name, steps in num_inference_steps.items():
        if steps is not None:
            _check_positive_int(steps, name, 1000)
    if aggregation not in AGGREGATIONS:
        raise InputError(f"aggregation: expected one of {', '.join(AGGREGATIONS)}, got {aggregation!r}")
    if fit not in (None, "all"):
        raise InputError(f"fit: expected 'all' or None, got {fit!r}")
    if output_type not in ("np", "pt"):
        raise InputError(f"output_type: expected 'np' or 'pt', got {output_type!r}")
    if guidance_scale is not None and not (
        isinstance(guidance_scale, (int, float)) and np.isfinite(guidance_scale) and guidance_scale >= 0
    ):
        raise InputError(f"guidance_scale: expected a number of at least 0, got {guidance_scale!r}")


def _check_positive_int(value, name: str, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
        raise InputError(f"{name}: expected a whole number from 1 to {most}, got {value!r}")


def _count(images, keypoints_2d, num_hands_without_2d) -> int:
    if images is not None:
        return len(images)
    if keypoints_2d is not None:
        shape = np.shape(keypoints_2d)
        return shape[0] if len(shape) == 3 else 1
    if num_hands_without_2d is not None:
        return num_hands_without_2d
    raise InputError("images: expected one image or a list of at least one, or keypoints_2d in their place, got None")


def _check_handedness(handedness, count: int) -> list[str]:
    sides = [handedness] * count if isinstance(handedness, str) else handedness
    if not isinstance(sides, (list, tuple, np.ndarray)) or len(sides) != count:
        raise InputError(
            f"handedness: expected 'left', 'right' or a list with one for each of {count} images, got {handedness!r}"
        )
    for side in sides:
        if side not in HANDEDNESS:
            raise InputError(f"handedness: expected 'left' or 'right', got {side!r}")
    return [str(side) for side in sides]


def _as_array(value, name: str, shape: tuple[int, ...], count: int) -> torch.Tensor:
    """A float32 tensor (count, *shape); a single row may come without the first axis."""
    expected = f"{name}: expected an array of shape {(count, *shape)}"
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{expected}, got something that is not an array of numbers") from None
    if count == 1 and array.shape == shape:
        array = array[None]
    if array.shape != (count, *shape):
        raise InputError(f"{expected}, got shape {array.shape}")
    return torch.from_numpy(array.astype(np.float32))


def _check_keypoints(keypoints_2d, keypoint_scores, count):
    if keypoints_2d is None:
        if keypoint_scores is not None:
            raise InputError("keypoint_scores: expected only together with keypoints_2d, which is None")
        return None, None
    keypoints = _as_array(keypoints_2d, "keypoints_2d", (21, 2), count)
    if torch.isinf(keypoints).any():
        raise InputError("keypoints_2d: expected pixels, or NaN for points that are not seen, got an infinity")
    seen = torch.isfinite(keypoints).all(-1)
    if (seen.sum(-1) < 2).any():
        raise InputError("keypoints_2d: expected at least two points that are seen (not NaN) for each hand")
    if keypoint_scores is None:
        scores = torch.ones(count, 21)
    else:
        scores = _as_array(keypoint_scores, "keypoint_scores", (21,), count)
        if not ((scores >= 0) & (scores <= 1)).all():
            raise InputError("keypoint_scores: expected values from 0 to 1")
    return torch.where(seen[..., None], keypoints, torch.nan), torch.where(seen, scores, 0)


def _check_keypoints_are_pixels(keypoints, images, cameras, name: str) -> None:
    """Refuse fractions of an image, and points of which most lie far outside of it."""
    if keypoints is None or (images is None and cameras is None):
        return  # points by themselves may be in any unit
    for index, points in enumerate(keypoints):
        points = points[torch.isfinite(points).all(-1)]
        if images is not None:
            size = torch.tensor(images[index].shape[1::-1], dtype=torch.float32)
        else:
            size = 2 * cameras[index, :2, 2]
        picture = f"an image of {size[0]:g}x{size[1]:g} px"
        (x0, y0), (x1, y1) = points.amin(0).tolist(), points.amax(0).tolist()
        if points.abs().max() <= _LARGEST_FRACTION and size.min() > _SMALLEST_SIDE_PX:
            raise InputError(f"{name}: expected pixels of {picture}, got values within {_LARGEST_FRACTION:g}")
        near = ((points > -size / 2) & (points < 1.5 * size)).all(-1)
        if images is not None and near.float().mean() < 0.5:
            got = f"x from {x0:.4g} to {x1:.4g} and y from {y0:.4g} to {y1:.4g}"
            raise InputError(f"{name}: expected pixels of {picture}, got most points far outside: {got}")


def _check_keypoint_cov(keypoint_cov, keypoints, keypoint_scores, count):
    if keypoint_cov is None:
        return None
    if keypoints is None or keypoint_scores is not None:
        raise InputError("keypoint_cov: expected only together with keypoints_2d and without keypoint_scores")
    covariance = _as_array(keypoint_cov, "keypoint_cov", (21, 2, 2), count)
    seen = torch.isfinite(keypoints).all(-1)
    determinant = torch.linalg.det(covariance)
    positive = (covariance.diagonal(dim1=-2, dim2=-1) > 0).all(-1) & (determinant > 0)
    symmetric = (covariance[..., 0, 1] - covariance[..., 1, 0]).abs() <= 1e-3 * covariance.abs().amax((-2, -1))
    if not (positive & symmetric & torch.isfinite(determinant))[seen].all():
        raise InputError(
            "keypoint_cov: expected symmetric positive definite matrices, px², of all points that are seen"
        )
    return torch.where(seen[..., None, None], covariance, torch.eye(2))


def _check_last_keypoints(last_keypoints_2d, images, count):
    if last_keypoints_2d is None:
        return None
    if images is None:
        raise InputError("last_keypoints_2d: expected only together with images")
    points = _as_array(last_keypoints_2d, "last_keypoints_2d", (21, 2), count)
    if not torch.isfinite(points).all() or (points.amax(1) <= points.amin(1)).any():
        raise InputError("last_keypoints_2d: expected finite pixels that differ, got NaN, infinity or one place")
    _check_keypoints_are_pixels(points, images, None, "last_keypoints_2d")
    return points


def _check_intrinsics(intrinsics, count):
    if intrinsics is None:
        return None
    cameras = _as_array(intrinsics, "intrinsics", (3, 3), count)
    if not torch.isfinite(cameras).all():
        raise InputError("intrinsics: expected finite numbers, got NaN or infinity")
    bottom = torch.tensor([0.0, 0.0, 1.0])
    if (cameras[:, 0, 0] <= 0).any() or (cameras[:, 1, 1] <= 0).any() or not torch.allclose(cameras[:, 2], bottom):
        raise InputError("intrinsics: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths in px")
    return cameras


def _crops(images, boxes, keypoints, count) -> torch.Tensor | None:
    if boxes is not None:
        checked = _as_array(boxes, "boxes", (4,), count)
        if not torch.isfinite(checked).all():
            raise InputError("boxes: expected finite pixels (x0, y0, x1, y1), got NaN or infinity")
        if ((checked[:, 2] - checked[:, 0]).minimum(checked[:, 3] - checked[:, 1]) <= 0).any():
            raise InputError("boxes: expected (x0, y0, x1, y1) px with x1 > x0 and y1 > y0, got a box without pixels")
        if images is not None:
            _check_boxes_meet_images(checked, images)
        rows = [camera.crop_of_box(box) for box in checked.tolist()]
    elif images is not None:
        rows = [camera.crop_of_image(*image.shape[:2]) for image in images]
    elif keypoints is not None:
        rows = [_crop_of_keypoints(points) for points in keypoints.numpy()]
    else:
        return None
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def _check_boxes_meet_images(boxes: torch.Tensor, images: list[np.ndarray]) -> None:
    for box, image in zip(boxes.tolist(), images, strict=True):
        height, width = image.shape[:2]
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            got = tuple(round(value, 1) for value in box)
            raise InputError(f"boxes: expected a box that meets its image of {width}x{height} px, got {got}")


def _crop_of_keypoints(points: np.ndarray) -> np.ndarray:
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    if not (high - low).max() > 0:
        raise InputError("keypoints_2d: expected points that differ, got all of them in one place")
    return camera.crop_of_box([*low, *high])


def _mirror_left_hands(request: HandRequest) -> None:
    """Mirror what belongs to left hands, in place: afterwards every hand is a right hand."""
    left = request.is_left
    if not left.any():
        return
    if request.images is not None:
        request.images = [
            image[:, ::-1] if is_left else image  # a view: what is cut out of it is copied
            for image, is_left in zip(request.images, left.tolist(), strict=True)
        ]
    crops = request.crops.clone()
    crops[left, 0] = request.widths[left] - crops[left, 0]
    request.crops = crops
    request.keypoints = mirror_pixels(request.keypoints, request.widths, left)
    request.last_keypoints = mirror_pixels(request.last_keypoints, request.widths, left)
    if request.intrinsics is not None:
        mirrored = camera.mirror_intrinsics(request.intrinsics, request.widths)
        request.intrinsics = torch.where(left[:, None, None], mirrored, request.intrinsics)


def mirror_pixels(points: torch.Tensor | None, widths: torch.Tensor, left: torch.Tensor) -> torch.Tensor | None:
    """x -> width - x for the rows of (B, K, 2) px that belong to left hands."""
    if points is None:
        return None
    mirrored = torch.stack([widths[:, None] - points[..., 0], points[..., 1]], dim=-1)
    return torch.where(left[:, None, None], mirrored, points)


def mirror_hands(points: torch.Tensor | None, left: torch.Tensor) -> torch.Tensor | None:
    """x -> -x for the rows of (B, ..., 3) m that belong to left hands."""
    if points is None:
        return None
    sign = torch.ones(len(left), 3)
    sign[left, 0] = -1
    return points * sign.view(-1, *[1] * (points.dim() - 2), 3)


@dataclass
class HandsToSample:
    """The arguments of a call that go by image, one row a hand where the hands were detected.

    Attributes:
        images, handedness, boxes, intrinsics, generator: as the pipelines take them.
        image_indices: which image each hand was found in; None where nothing was detected.
        num_images: how many images were searched; None likewise.
    """

    images: object
    handedness: object
    boxes: object
    intrinsics: object
    generator: object
    image_indices: list[int] | None = None
    num_images: int | None = None

    def request(
        self,
        keypoints_2d=None,
        keypoint_scores=None,
        num_hands_without_2d=None,
        keypoint_cov=None,
        last_keypoints_2d=None,
    ) -> HandRequest:
        """The checked request."""
        request = check_request(
            self.images,
            self.handedness,
            self.boxes,
            keypoints_2d,
            keypoint_scores,
            self.intrinsics,
            num_hands_without_2d=num_hands_without_2d,
            keypoint_cov=keypoint_cov,
            last_keypoints_2d=last_keypoints_2d,
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
    _check_detection(hand_detector, images, handedness, boxes, keypoints_2d, joints)
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
        num_images=len(loaded),
    )


def _check_detection(hand_detector, images, handedness, boxes, keypoints_2d, joints) -> None:
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
    if not isinstance(generator, (list, tuple)):
        return generator
    seeds = base_seeds(generator, count)
    return [seeds[index] for index in indices]
