"""Cameras and crops: from pixels of the caller's photo to the frames in which the networks work, and back.

Three frames, all with OpenCV axes (x right, y down, z away), metres:

- *camera*: the photo's own camera, `intrinsics` (3, 3) in its pixels;
- *crop*: the same axes; a square of the photo, (centre x, centre y, side) in pixels;
- *view*: the camera turned until z passes through the middle of the 2D keypoints and the knuckles stand above the
  wrist. What a hand looks like there does not depend on where in the photo it was nor on how the photo was held,
  so the networks only know this frame.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from hf_handdiff.resizing import reduce_blocks

BOX_MARGIN = 1.4
"""Side of the crop over the longer side of the caller's box."""

DEFAULT_FIELD_OF_VIEW_DEG = 25.0
"""Angle that a crop is taken to span where the caller gives no intrinsics: a hand at arm's length or a little
more, photographed so that it fills most of the crop."""

PHOTO_FIELD_OF_VIEW_DEG = 60.0
"""Angle that the diagonal of a whole photo is taken to span where one camera for all that is in it is needed and none
is given. Main cameras of phones span 75 to 84 degrees, webcams 55 to 80, twofold lenses of phones about 45; photos are
cropped. Too wide an angle stands hands too near, and flattens what lies between them by the same factor."""

UNKNOWN_VIEW_SCALE = 0.2
"""Tangent of the half angle that keypoints are taken to span where none are known."""

_LEAST_VIEW_SCALE = 1e-3
_PULL, _PULLED_DEPTH_M = 1e-7, 0.5

LARGEST_PLAIN_SHRINK = 1.25
"""Squares up to so many times larger than their crop are sampled once a pixel."""

MOST_SAMPLES = 4
"""Samples of a pixel along each axis at the most."""


# ------------------------------------------------------------------------------------------------ crops


def crop_of_image(height: int, width: int) -> np.ndarray:
    """The whole image as one crop: (3,) centre x, centre y, side in px, the side being the longer one."""
    return np.array([width / 2, height / 2, max(height, width)], dtype=np.float64)


def crop_of_box(box_px) -> np.ndarray:
    """Crop round a box (x0, y0, x1, y1) px: (3,) centre x, centre y, side; `BOX_MARGIN` times the longer side."""
    x0, y0, x1, y1 = (float(value) for value in box_px)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, BOX_MARGIN * max(x1 - x0, y1 - y0)], dtype=np.float64)


def box_of_whole_image(height: int, width: int) -> np.ndarray:
    """The box (4,) x0, y0, x1, y1 px whose crop is the square round a whole image; it is smaller than the image."""
    half = 0.5 * max(height, width) / BOX_MARGIN
    return np.array([width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half])


def mirror_crop(crop: np.ndarray, width: int) -> np.ndarray:
    """The same crop in the horizontally mirrored image of `width` px."""
    return np.array([width - crop[0], crop[1], crop[2]], dtype=np.float64)


def crop_squares(
    images: torch.Tensor,
    centre: torch.Tensor,
    side: torch.Tensor,
    angle: torch.Tensor,
    size: int,
    supersampling: int = 1,
    padding_mode: str = "zeros",
) -> torch.Tensor:
    """Turned squares out of images: the one cropper of inference, training and the networks themselves.

    Args:
        images: (B, C, H, W) float.
        centre: (B, 2) x, y of the squares' middles, px.
        side: (B,) px.
        angle: (B,) rad; the picture is turned by it, x towards y.
        size: side of the results in px.
        supersampling: each pixel of the results is the mean of so many samples along each axis: more than 1 where
            squares are larger than `size`.
        padding_mode: what lies outside of the images: "zeros" or "border".

    Returns:
        (B, C, size, size), in the dtype of the images; sampled in float32: eight bits of a bfloat16 cannot tell
        neighbouring pixels apart.
    """
    count, channels, height, width = images.shape
    extent = torch.stack([side.new_full((), width), side.new_full((), height)])
    turn = rotation_2d(angle)
    with torch.autocast(device_type=images.device.type, enabled=False):
        # from positions in the square to positions in the image, both in -1..1
        linear = side[:, None, None] * turn.transpose(1, 2) / extent[:, None]
        theta = torch.cat([linear, (2.0 * centre / extent - 1.0)[..., None]], dim=-1).float()
        shape = [count, channels, size * supersampling, size * supersampling]
        grid = F.affine_grid(theta, shape, align_corners=False)
        crops = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)
        if supersampling > 1:
            crops = F.avg_pool2d(crops, supersampling)
    return crops.to(images.dtype)


def samples_per_pixel(shrink: float) -> int:
    """How many samples a pixel takes along each axis, so that squares `shrink` times larger than crops do not alias."""
    return 1 if shrink <= LARGEST_PLAIN_SHRINK else min(math.ceil(shrink), MOST_SAMPLES)


def crop_image(image: np.ndarray, crop: np.ndarray, size: int) -> torch.Tensor:
    """Cut a square out of a photo of any size with `crop_squares`; what lies outside of the photo is black.

    Where the square is much larger than `size`, whole blocks of pixels are averaged first. No more of the photo is
    looked at, and no more memory taken, than the part that lies in the square.

    Args:
        image: (H, W, 3) uint8 RGB.
        crop: (3,) centre x, centre y, side in px; may reach beyond the image.
        size: side of the result in px.

    Returns:
        (3, size, size) float32 in 0..1.
    """
    centre, side = np.asarray(crop[:2], dtype=np.float64), float(crop[2])
    extent = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(centre - side / 2).astype(int) - 1, 0, extent)
    high = np.clip(np.ceil(centre + side / 2).astype(int) + 1, 0, extent)
    if (high <= low).any():
        return torch.zeros(3, size, size)
    part = image[low[1] : high[1], low[0] : high[0]]
    block = max(int(side / size), 1)
    if block > 1:
        part = reduce_blocks(part, (block, block))
    planes = np.ascontiguousarray(part.transpose(2, 0, 1)[None])
    pixels = torch.tensor(planes, dtype=torch.float32) / 255.0
    middle = torch.tensor((centre - low) / block, dtype=torch.float32)[None]
    samples = samples_per_pixel(side / block / size)
    return crop_squares(pixels, middle, torch.tensor([side / block]), torch.zeros(1), size, samples)[0]


def crop_to_pixels(points: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """Points (B, K, 2) in crop units (0..1 across the crop) -> px of the photo; crops (B, 3)."""
    return (points - 0.5) * crops[:, None, 2:] + crops[:, None, :2]


def pixels_to_crop(points_px: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """Points (B, K, 2) px of the photo -> crop units (0..1 across the crop); crops (B, 3)."""
    return (points_px - crops[:, None, :2]) / crops[:, None, 2:] + 0.5


# ------------------------------------------------------------------------------------------------ cameras


def default_intrinsics(crops: torch.Tensor, field_of_view_deg: float = DEFAULT_FIELD_OF_VIEW_DEG) -> torch.Tensor:
    """Pinhole cameras that look at the middle of each crop: crops (B, 3) px -> (B, 3, 3) px."""
    focal = crops[:, 2] / (2 * np.tan(np.radians(field_of_view_deg) / 2))
    intrinsics = torch.zeros(len(crops), 3, 3, dtype=crops.dtype, device=crops.device)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = crops[:, :2]
    intrinsics[:, 2, 2] = 1
    return intrinsics


def photo_intrinsics(height: int, width: int, field_of_view_deg: float = PHOTO_FIELD_OF_VIEW_DEG) -> np.ndarray:
    """The camera (3, 3) px that a whole photo of `height` and `width` px is taken to be from; see the angle."""
    focal = 0.5 * math.hypot(height, width) / math.tan(math.radians(field_of_view_deg) / 2)
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def mirror_intrinsics(intrinsics: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Cameras (B, 3, 3) of the horizontally mirrored images of `width` (B,) px."""
    mirrored = intrinsics.clone()
    mirrored[:, 0, 2] = width - intrinsics[:, 0, 2]
    mirrored[:, 0, 1] = -intrinsics[:, 0, 1]
    return mirrored


def project(points: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:
    """Pinhole projection: (..., K, 3) m in the camera frame, (..., 3, 3) px -> (..., K, 2) px."""
    homogeneous = points @ intrinsics.transpose(-1, -2)
    return homogeneous[..., :2] / homogeneous[..., 2:].clamp_min(1e-6)


def rays_of_pixels(points_px: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:
    """(B, K, 2) px, (B, 3, 3) px -> (B, K, 3) rays with z = 1 in the camera frame."""
    homogeneous = torch.cat([points_px, torch.ones_like(points_px[..., :1])], dim=-1)
    return homogeneous @ inverse_of(intrinsics).transpose(-1, -2)


def inverse_of(matrices: torch.Tensor) -> torch.Tensor:
    """Inverses (..., 3, 3), as `torch.linalg.inv` gives them, without a look at whether there is one: on a GPU that
    look waits for all that was asked of it before. Cameras of callers are checked where they come in.
    """
    return torch.linalg.inv_ex(matrices)[0]


@dataclass
class KeypointView:
    """2D keypoints in their own view frame.

    Attributes:
        points: (B, 21, 2) tangents of the view angles over `scale`; the seen ones span about -1..1.
        scores: (B, 21) 0..1, 0 where a point was not seen.
        scale: (B,) tangent of the half angle that the seen points span.
        rotation: (B, 3, 3) takes camera coordinates to view coordinates.
        middle: (B, 2) tangents of the middle of the seen points: near 0, since the view looks there.
    """

    points: torch.Tensor
    scores: torch.Tensor
    scale: torch.Tensor
    rotation: torch.Tensor
    middle: torch.Tensor

    def rays_of(self, points: torch.Tensor) -> torch.Tensor:
        """Tangents (B, ..., 2) of points in the units of `points`."""
        ones = (1,) * (points.ndim - 2)
        return points * self.scale.view(-1, *ones, 1) + self.middle.view(-1, *ones, 2)


def pixels_to_view(points_px: torch.Tensor, view: KeypointView, intrinsics: torch.Tensor) -> torch.Tensor:
    """Points (B, K, 2) px -> the units of `view.points`; intrinsics (B, 3, 3) px."""
    turned = rays_of_pixels(points_px, intrinsics) @ view.rotation.transpose(-1, -2)
    tangents = turned[..., :2] / turned[..., 2:].clamp_min(1e-3)
    return (tangents - view.middle[:, None]) / view.scale[:, None, None]


def view_to_pixels(points: torch.Tensor, view: KeypointView, intrinsics: torch.Tensor) -> torch.Tensor:
    """Points (B, K, 2) in the units of `view.points` -> px; intrinsics (B, 3, 3) px."""
    rays = torch.nn.functional.pad(view.rays_of(points), (0, 1), value=1.0) @ view.rotation
    return project(rays, intrinsics)


def view_jacobian(points_px: torch.Tensor, view: KeypointView, intrinsics: torch.Tensor) -> torch.Tensor:
    """Derivatives (B, K, 2, 2) of `pixels_to_view` at points (B, K, 2) px; at the middle of those that are NaN."""
    finite = torch.isfinite(points_px).all(-1, keepdim=True)
    inverse = inverse_of(intrinsics)
    turned = rays_of_pixels(torch.where(finite, points_px, 0.0), intrinsics) @ view.rotation.transpose(-1, -2)
    turned = torch.where(finite, turned, torch.tensor([0.0, 0.0, 1.0]).to(turned))
    depth = turned[..., 2:].clamp_min(1e-3)
    moved = (view.rotation @ inverse[:, :, :2])[:, None]  # (B, 1, 3, 2) of the turned rays, by px
    tangents = (turned[..., :2] / depth)[..., None]
    by_px = (moved[:, :, :2] - tangents * moved[:, :, 2:]) / depth[..., None]
    return by_px / view.scale[:, None, None, None]


def log_view_scale(view_scale: torch.Tensor) -> torch.Tensor:
    """The scale of a view as the networks read it: its logarithm, moved to be about zero on average."""
    return view_scale.clamp_min(_LEAST_VIEW_SCALE).log() + 2.0


def view_from_keypoints(keypoints_px: torch.Tensor, scores: torch.Tensor, intrinsics: torch.Tensor) -> KeypointView:
    """Turn cameras towards the middle of their keypoints and measure the points there.

    Args:
        keypoints_px: (B, 21, 2) px; rows with NaN count as not seen.
        scores: (B, 21) 0..1; rows with score 0 count as not seen.
        intrinsics: (B, 3, 3) px.

    Returns:
        The view; where no point is seen it looks along the camera's axis, with scale `UNKNOWN_VIEW_SCALE` and
        all scores 0.
    """
    seen = torch.isfinite(keypoints_px).all(-1) & (scores > 0)  # (B, 21)
    rays = rays_of_pixels(torch.where(seen[..., None], keypoints_px, 0), intrinsics)
    centre, _ = _extent(rays[..., :2], seen)
    direction = torch.cat([centre, torch.ones_like(centre[:, :1])], dim=-1)
    rotation = rotation_to_axis(direction)
    turned = rays @ rotation.transpose(-1, -2)
    tangents = turned[..., :2] / turned[..., 2:].clamp_min(1e-3)
    roll = _upright_roll(tangents, seen)
    rotation = roll @ rotation
    tangents = tangents @ roll[:, :2, :2].transpose(-1, -2)
    middle, half = _extent(tangents, seen)
    half = torch.where(seen.sum(-1) >= 2, half, torch.full_like(half, UNKNOWN_VIEW_SCALE)).clamp_min(_LEAST_VIEW_SCALE)
    points = (tangents - middle[:, None]) / half[:, None, None]
    return KeypointView(
        points=torch.where(seen[..., None], points, 0),
        scores=torch.where(seen, scores, 0),
        scale=half,
        rotation=rotation,
        middle=middle,
    )


def rotation_2d(angle: torch.Tensor) -> torch.Tensor:
    """Rotations (B, 2, 2) of the picture by angles (B,) rad, x towards y."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)


WRIST, KNUCKLES = 0, (5, 9, 13, 17)


def upright_angle(points: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
    """Angle (B,) rad by which points (B, 21, 2), x right and y down, are to be turned (x towards y) so that the mean of
    the knuckles is above the wrist; 0 where the wrist or all knuckles are not `seen` (B, 21).
    """
    seen = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device) if seen is None else seen
    knuckles_seen = _knuckles_of(seen)
    weight = knuckles_seen.to(points.dtype)[..., None]
    knuckles = (_knuckles_of(points) * weight).sum(1) / weight.sum(1).clamp_min(1.0)
    x, y = (knuckles - points[:, WRIST]).unbind(-1)
    known = seen[:, WRIST] & knuckles_seen.any(-1) & (x.square() + y.square() > 1e-12)
    angle = torch.atan2(-x, -y)
    return torch.where(known, angle, 0.0)


def _knuckles_of(values: torch.Tensor) -> torch.Tensor:
    """(B, 21, ...) -> (B, 4, ...), without a list of places that would have to be sent to a GPU."""
    return torch.stack([values[:, place] for place in KNUCKLES], dim=1)


def _upright_roll(tangents: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Rotations (B, 3, 3) about z that make the points upright."""
    angle = upright_angle(tangents, seen)
    roll = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    roll[:, :2, :2] = rotation_2d(angle)
    return roll


def _extent(points: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Middle (B, 2) and half of the longer side (B,) of the box round the seen points (B, K, 2)."""
    infinity = torch.finfo(points.dtype).max
    low = torch.where(seen[..., None], points, infinity).amin(1)
    high = torch.where(seen[..., None], points, -infinity).amax(1)
    anything = seen.any(-1)
    middle = torch.where(anything[:, None], (low + high) / 2, 0)
    half = torch.where(anything, ((high - low) / 2).amax(-1), 0)
    return middle, half


def rotation_to_axis(direction: torch.Tensor) -> torch.Tensor:
    """The smallest rotation that takes each direction (B, 3) with z > 0 onto the z axis: (B, 3, 3)."""
    unit = torch.nn.functional.normalize(direction, dim=-1)
    x, y, z = unit.unbind(-1)
    # Rodrigues' formula for the axis (y, -x, 0) = unit × z, whose sine is its length and cosine z.
    weight = 1 / (1 + z)
    rows = [
        torch.stack([1 - x * x * weight, -x * y * weight, -x], -1),
        torch.stack([-x * y * weight, 1 - y * y * weight, -y], -1),
        torch.stack([x, y, z], -1),
    ]
    return torch.stack(rows, -2)


def solve_translation(rays: torch.Tensor, points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Where points must stand to lie nearest to their rays: weighted linear least squares, in closed form.

    Each point gives tx - u tz = u z - x, and its like for y. At any tz the best tx and ty are means over the points,
    which leaves one equation for tz.

    Args:
        rays: (..., K, 2) tangents u, v of the rays.
        points: (..., K, 3) m.
        weights: (..., K) >= 0.

    Returns:
        (..., 3) m: translation to add. A weak pull towards (0, 0, 0.5) decides where the points do not.
    """
    weights = (weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)).unsqueeze(-1)
    target = rays * points[..., 2:] - points[..., :2]  # (..., K, 2)
    mean_ray, mean_target = (weights * rays).sum(-2), (weights * target).sum(-2)
    offset = rays - mean_ray.unsqueeze(-2)
    variance = (weights * offset.square()).sum((-2, -1))
    covariance = (weights * offset * (target - mean_target.unsqueeze(-2))).sum((-2, -1))
    depth = ((_PULL * _PULLED_DEPTH_M - covariance) / (variance + _PULL)).unsqueeze(-1)
    return torch.cat([mean_target + mean_ray * depth, depth], dim=-1)


def fit_translation(
    points: torch.Tensor, keypoints_px: torch.Tensor, intrinsics: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Where wrist-relative points must stand so that they project on 2D keypoints, by linear least squares.

    Each point gives two equations, X + tx - u (Z + tz) = 0 and the same for y, with u the ray through its pixel.
    Weighted by 1 / (Z + tz)^2, in a second and a third pass, their residuals are those of the projection: without
    it the hand would be drawn towards the camera.

    Args:
        points: (..., K, 3) m, camera axes, wrist at the origin.
        keypoints_px: (..., K, 2) px; NaN rows are left out.
        intrinsics: (..., 3, 3) px.
        weights: (..., K) >= 0.

    Returns:
        (..., 3) m: translation to add; every point ends up at least 5 cm in front of the camera. With no seen
        point at all: (0, 0, 0.5).
    """
    lead = torch.broadcast_shapes(points.shape[:-2], keypoints_px.shape[:-2], intrinsics.shape[:-2])
    points = points.expand(*lead, *points.shape[-2:]).flatten(0, -3)
    keypoints_px = keypoints_px.expand(*lead, *keypoints_px.shape[-2:]).flatten(0, -3)
    intrinsics = intrinsics.expand(*lead, 3, 3).reshape(-1, 3, 3)
    weights = weights.expand(*lead, weights.shape[-1]).flatten(0, -2)

    seen = torch.isfinite(keypoints_px).all(-1) & (weights > 0)
    rays = rays_of_pixels(torch.where(seen[..., None], keypoints_px, 0), intrinsics)[..., :2]  # (M, K, 2)
    weights = torch.where(seen, weights, 0)
    solution = torch.zeros(len(points), 3, dtype=points.dtype, device=points.device)
    reweighted = weights
    for _ in range(3):
        solution = solve_translation(rays, points, reweighted)
        distance = (points[..., 2] + solution[:, 2:]).clamp_min(0.05)
        reweighted = weights / distance.square()
    # In front of the camera, all of it; x and y are the best ones at that depth.
    depth = torch.maximum(solution[:, 2], 0.05 - points[..., 2].amin(-1))
    aside = rays * (points[..., 2:] + depth[:, None, None]) - points[..., :2]  # (M, K, 2)
    total = weights.sum(-1, keepdim=True)
    aside = (weights[..., None] * aside).sum(1) / total.clamp_min(1e-9)
    return torch.cat([aside, depth[:, None]], dim=-1).view(*lead, 3)
