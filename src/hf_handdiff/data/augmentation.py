"""Batched augmentation of a corpus: random crops, colours, blur, noise, compression and patches, with their labels.

Everything random is drawn from the generator that the caller passes; there is no other state.

**Geometry.** A training crop is a similarity of the image (turn, scale, shift).  Turning an image by R about
any point is exactly what the camera sees when the world turns by R about its optical axis, up to a shift of
the principal point: with u = f X/Z + p and u' = s R (u - c) + c', it is
u' = (s f) (R X)/Z + [s R (p - c) + c'].  So the 3D labels are multiplied by the rotation about the camera's z
axis and the intrinsics get the new focal length and principal point; no approximation is made, whatever the
place of the hand in the image, as long as pixels are square (fx = fy, no skew).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from hf_handdiff.camera import BOX_MARGIN, crop_squares, rotation_2d, samples_per_pixel, upright_angle
from hf_handdiff.data.pasted_hands import FLESH_RADIUS_M, paste_hands
from hf_handdiff.data.poor_images import compress, defocus, lower_resolution, shake


@dataclass(frozen=True)
class AugmentationConfig:
    """How strongly to augment; probabilities are per image.

    size: side of the crops in px.
    upright: turn every hand upright first (`camera.upright_angle`), then as the next two fields say.
    any_rotation_probability: share of images turned by any angle; the others by up to `small_rotation_deg`
        either way.
    scale: range of the factor on the crop's side (above 1 the hand is smaller than usual).
    shift: largest shift of the crop either way, in sides of the keypoints' box; a crop with more room round
        the box may shift by up to `loose_shift` times that room.
    brightness, contrast, saturation: ranges of factors.
    white_balance, hue_deg, tone: largest relative gain of a channel, turn of the hue, and bend of the tone
        curve, all either way.
    grayscale_probability: share of gray images.
    blur_probability, blur_px: share blurred and range of the standard deviation in px, along and across
        apart.
    shake_probability, shake_px: share blurred along a straight line, as by a camera or a scene that moves, and the
        range of its length.
    defocus_probability, defocus_px: share out of focus, and the range of the radius that a point gets.
    low_resolution_probability, low_resolution: share shrunk and enlarged again, and the range of the factor.
    jpeg_probability, jpeg_quality: share compressed once more, and the range of the quality.
    noise_probability, noise_std: share with noise and its largest standard deviation, of 0..1.
    patch_probability, max_patches, patch_size: share of images with patches, how many at most, and the range
        of their sides as a share of the crop.
    pasted_hand_probability: share of images over which the hand of another image is pasted.
    plain_probability: share of images replaced by a plain colour, which show no hand.
    whole_probability: share of crops that show all of the image, wherever the hand is in it and however small, as the
        pipelines see an image that comes without a box.
    whole_scale, whole_shift: range of the factor on such a crop's side, and its largest shift, in sides of the image.
    """

    size: int = 224
    upright: bool = False
    any_rotation_probability: float = 0.5
    small_rotation_deg: float = 30.0
    scale: tuple[float, float] = (0.72, 1.9)
    shift: float = 0.15
    loose_shift: float = 0.4
    brightness: tuple[float, float] = (0.7, 1.3)
    contrast: tuple[float, float] = (0.7, 1.3)
    saturation: tuple[float, float] = (0.5, 1.3)
    white_balance: float = 0.1
    hue_deg: float = 12.0
    tone: float = 0.4
    grayscale_probability: float = 0.08
    blur_probability: float = 0.25
    blur_px: tuple[float, float] = (0.3, 3.0)
    shake_probability: float = 0.1
    shake_px: tuple[float, float] = (3.0, 15.0)
    defocus_probability: float = 0.06
    defocus_px: tuple[float, float] = (1.5, 4.5)
    low_resolution_probability: float = 0.2
    low_resolution: tuple[float, float] = (0.2, 0.85)
    jpeg_probability: float = 0.2
    jpeg_quality: tuple[int, int] = (12, 75)
    noise_probability: float = 0.35
    noise_std: float = 0.06
    patch_probability: float = 0.3
    max_patches: int = 3
    patch_size: tuple[float, float] = (0.08, 0.4)
    pasted_hand_probability: float = 0.1
    plain_probability: float = 0.0
    whole_probability: float = 0.0
    whole_scale: tuple[float, float] = (0.8, 1.15)
    whole_shift: float = 0.1


FRAMING = AugmentationConfig(whole_probability=0.45)
"""What the image encoder's framing pass sees: crops of any turn, tight and loose, and whole images."""

FRAMED = AugmentationConfig(
    upright=True,
    any_rotation_probability=0.15,
    small_rotation_deg=25.0,
    scale=(0.8, 1.35),
    shift=0.12,
    loose_shift=0.12,
    plain_probability=0.02,
)
"""Crops as the image encoder's framing pass leaves them: upright, the hand filling them, both with some error and at
times far off."""


def augment_batch(
    batch: dict[str, torch.Tensor], generator: torch.Generator, config: AugmentationConfig | None = None
) -> dict[str, torch.Tensor]:
    """Random crops of a corpus batch with their labels.

    Args:
        batch: columns of the corpus: image (B, 3, H, W) uint8, has_hand (B,) bool, keypoints_2d_px
            (B, 21, 2), keypoints_visible (B, 21) bool, joints_m (B, 21, 3), intrinsics_px (B, 3, 3); if
            wanted, vertices_m (B, V, 3).
        generator: source of all randomness, on the batch's device.
        config: strengths; the default ones if None.

    Returns:
        pixel_values (B, 3, S, S) float in 0..1, has_hand (B,) bool, keypoints (B, 21, 2) crop units,
        keypoints_visible (B, 21) bool (False also outside the crop, under a patch and under a pasted
            hand), joints_m and vertices_m in the turned camera frame, intrinsics_px (B, 3, 3) of the crop's
            pixels, rotation (B, 3, 3) about z from the old camera frame to the new.
    """
    config = config or AugmentationConfig()
    has_hand = batch["has_hand"].bool()
    image_size = batch["image"].shape[-1]
    centre, side, angle = sample_crops(batch["keypoints_2d_px"], has_hand, image_size, generator, config)
    cropped = crop_batch(batch, centre, side, angle, config.size)
    pixel_values = fill_outside(cropped.pop("pixel_values"), cropped.pop("inside"), generator)

    radius = flesh_radius(cropped, config.size)
    pixel_values, under_hand = paste_hands(
        pixel_values, cropped["keypoints"], radius, has_hand, config.pasted_hand_probability, generator
    )
    has_hand = has_hand & paint_plain(pixel_values, config, generator)
    cropped["keypoints_visible"] &= has_hand[:, None]
    pixel_values, covered = add_patches(pixel_values, cropped["keypoints"], config, generator)
    pixel_values = jitter_colours(pixel_values, config, generator)
    pixel_values = blur(pixel_values, config, generator)
    pixel_values = shake(pixel_values, config.shake_probability, config.shake_px, generator)
    pixel_values = defocus(pixel_values, config.defocus_probability, config.defocus_px, generator)
    pixel_values = lower_resolution(pixel_values, config.low_resolution_probability, config.low_resolution, generator)
    pixel_values = add_noise(pixel_values, config, generator)
    pixel_values = compress(pixel_values, config.jpeg_probability, config.jpeg_quality, generator)
    cropped["keypoints_visible"] &= ~(covered | under_hand)
    return {"pixel_values": pixel_values.clamp_(0.0, 1.0), "has_hand": has_hand, **cropped}


def centre_crop_batch(
    batch: dict[str, torch.Tensor], size: int = 224, upright: bool = False
) -> dict[str, torch.Tensor]:
    """The crops and labels of `augment_batch` without anything random, for validation.  Outside is black."""
    has_hand = batch["has_hand"].bool()
    keypoints = batch["keypoints_2d_px"]
    angle = torch.where(has_hand, upright_angle(keypoints), 0.0) if upright else torch.zeros(len(keypoints))
    box_centre, box_side = hand_boxes(keypoints, has_hand, batch["image"].shape[-1], angle)
    cropped = crop_batch(batch, box_centre, BOX_MARGIN * box_side, angle, size)
    pixel_values = cropped.pop("pixel_values") * cropped.pop("inside")
    return {"pixel_values": pixel_values, "has_hand": has_hand, **cropped}


def whole_image_batch(batch: dict[str, torch.Tensor], size: int = 224) -> dict[str, torch.Tensor]:
    """The images as they are, with labels: what `handdiff evaluate` looks at.

    Args:
        batch: columns of the corpus, as `augment_batch` takes them.
        size: side of the images that are returned, px.

    Returns:
        The columns of `augment_batch` that are not random: pixel_values (B, 3, size, size) in 0..1, has_hand, keypoints
        (B, 21, 2) crop units, joints_m, vertices_m (camera frame), intrinsics_px of the pixels that are returned.
    """
    count, image_size = len(batch["has_hand"]), batch["image"].shape[-1]
    centre, side = torch.full((count, 2), image_size / 2), torch.full((count,), float(image_size))
    cropped = crop_batch(batch, centre, side, torch.zeros(count), size)
    del cropped["inside"]
    return {"has_hand": batch["has_hand"].bool(), **cropped}


# -------------------------------------------------------------------------------------------------- geometry


def hand_boxes(
    keypoints_px: torch.Tensor, has_hand: torch.Tensor, image_size: int, angle: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (B, 2) and larger side (B,) in px of the box round the keypoints (B, 21, 2).

    With `angle` (B,) rad it is the box in the picture turned by it, x towards y; the centre is still in px of the
    picture as it is. Images without a hand get the box whose crop is the whole image.
    """
    turn = (
        torch.eye(2, dtype=keypoints_px.dtype).expand(len(keypoints_px), 2, 2) if angle is None else rotation_2d(angle)
    )
    turned = keypoints_px @ turn.transpose(1, 2)
    low, high = turned.amin(dim=1), turned.amax(dim=1)
    centre, side = ((low + high) / 2)[:, None] @ turn, (high - low).amax(dim=1)
    centre = centre[:, 0]
    centre = torch.where(has_hand[:, None], centre, torch.full_like(centre, image_size / 2))
    side = torch.where(has_hand, side, torch.full_like(side, image_size / BOX_MARGIN))
    return centre, side.clamp_min(8.0)


def sample_crops(
    keypoints_px: torch.Tensor,
    has_hand: torch.Tensor,
    image_size: int,
    generator: torch.Generator,
    config: AugmentationConfig,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random crops: centre (B, 2) px, side (B,) px, and the picture's turn (B,) rad, from x towards y."""
    count = len(has_hand)
    small = math.radians(config.small_rotation_deg)
    any_angle = _uniform((count,), -math.pi, math.pi, generator)
    small_angle = _uniform((count,), -small, small, generator)
    angle = torch.where(_chance(count, config.any_rotation_probability, generator), any_angle, small_angle)
    if config.upright:
        angle = angle + torch.where(has_hand, upright_angle(keypoints_px), 0.0)
    centre, side = hand_boxes(keypoints_px, has_hand, image_size, angle if config.upright else None)
    scale = torch.exp(_uniform((count,), math.log(config.scale[0]), math.log(config.scale[1]), generator))
    reach = (config.loose_shift * (BOX_MARGIN * scale - 1.0)).clamp_min(config.shift)
    shift = reach[:, None] * _uniform((count, 2), -1.0, 1.0, generator)
    centre, side = centre + shift * side[:, None], BOX_MARGIN * scale * side
    if config.whole_probability:
        whole = _chance(count, config.whole_probability, generator)
        whole_centre, whole_side = _whole_crops(count, image_size, generator, config)
        centre, side = torch.where(whole[:, None], whole_centre, centre), torch.where(whole, whole_side, side)
    return centre, side, angle


def _whole_crops(
    count: int, image_size: int, generator: torch.Generator, config: AugmentationConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops of about the whole image: centre (B, 2) px, side (B,) px."""
    low, high = config.whole_scale
    scale = torch.exp(_uniform((count,), math.log(low), math.log(high), generator))
    shift = _uniform((count, 2), -config.whole_shift, config.whole_shift, generator)
    return image_size * (0.5 + shift), image_size * scale


def crop_batch(
    batch: dict[str, torch.Tensor], centre: torch.Tensor, side: torch.Tensor, angle: torch.Tensor, size: int
) -> dict[str, torch.Tensor]:
    """Cuts turned squares out of the images and carries the labels along; see the module's note on the
    geometry.

    centre (B, 2) px, side (B,) px, angle (B,) rad.  Besides the labels: pixel_values (B, 3, S, S) float in
    0..1, continued beyond the image by its border, and inside (B, 1, S, S) bool, where the crop shows the
    image.
    """
    turn = rotation_2d(angle)
    image = batch["image"].to(torch.float32) / 255.0
    samples = samples_per_pixel((side / size).max().item())
    pixels = crop_squares(image, centre, side, angle, size, samples, padding_mode="border")
    everywhere = torch.ones_like(image[:, :1])
    inside = crop_squares(everywhere, centre, side, angle, size) > 0.5

    keypoints = torch.einsum("bij,bkj->bki", turn, batch["keypoints_2d_px"] - centre[:, None]) / side[:, None, None]
    keypoints = keypoints + 0.5
    in_crop = ((keypoints >= 0.0) & (keypoints <= 1.0)).all(dim=-1)

    rotation = torch.zeros(len(turn), 3, 3, dtype=turn.dtype, device=turn.device)
    rotation[:, :2, :2] = turn
    rotation[:, 2, 2] = 1.0
    labels = {
        "pixel_values": pixels,
        "inside": inside,
        "keypoints": keypoints,
        "keypoints_visible": batch["keypoints_visible"].bool() & in_crop & batch["has_hand"].bool()[:, None],
        "intrinsics_px": crop_intrinsics(batch["intrinsics_px"], turn, centre, side, size),
        "rotation": rotation,
    }
    for name in ("joints_m", "vertices_m"):
        if name in batch:
            labels[name] = batch[name] @ rotation.transpose(1, 2)
    return labels


def crop_intrinsics(
    intrinsics_px: torch.Tensor, turn: torch.Tensor, centre: torch.Tensor, side: torch.Tensor, size: int
) -> torch.Tensor:
    """Intrinsics (B, 3, 3) of the crop's pixels for the camera turned by `turn` (B, 2, 2) about its axis."""
    zoom = size / side
    principal = torch.einsum("bij,bj->bi", turn, intrinsics_px[:, :2, 2] - centre)
    result = intrinsics_px.clone()
    result[:, :2, :2] = intrinsics_px[:, :2, :2] * zoom[:, None, None]
    result[:, :2, 2] = zoom[:, None] * principal + size / 2
    return result


def flesh_radius(cropped: dict[str, torch.Tensor], size: int) -> torch.Tensor:
    """`FLESH_RADIUS_M` (B,) in crop units, at the depth of each hand of a cropped batch."""
    depth = cropped["joints_m"][..., 2].mean(1).clamp_min(0.05)
    return FLESH_RADIUS_M * cropped["intrinsics_px"][:, 0, 0] / depth / size


# ------------------------------------------------------------------------------------------------ appearance


def fill_outside(images: torch.Tensor, inside: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Outside of the source image: half keep its continued border, the others black or one random colour."""
    count = len(images)
    keep = _chance(count, 0.5, generator)[:, None, None, None]
    black = _chance(count, 0.5, generator)[:, None, None, None]
    colour = _uniform((count, 3, 1, 1), 0.0, 1.0, generator) * ~black
    return torch.where(inside | keep, images, colour)


def paint_plain(images: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> torch.Tensor:
    """Paints some of the images (B, 3, S, S) in one colour, in place; which of them (B,) were left alone."""
    if config.plain_probability == 0:
        return torch.ones(len(images), dtype=torch.bool, device=images.device)
    chosen = _chance(len(images), config.plain_probability, generator)
    images[chosen] = _uniform((len(images), 3, 1, 1), 0.0, 1.0, generator)[chosen]
    return ~chosen


def add_patches(
    images: torch.Tensor, keypoints: torch.Tensor, config: AugmentationConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random turned rectangles and ellipses over some images (B, 3, S, S); which of (B, 21) they cover.

    A patch has one colour, or shows what the image before it in the batch has there, turned upside down.
    """
    count, patches, size = len(images), config.max_patches, config.size
    chosen = _chance(count, config.patch_probability, generator)
    centre = _uniform((count, patches, 2), 0.0, 1.0, generator)
    half = _uniform((count, patches, 2), config.patch_size[0] / 2, config.patch_size[1] / 2, generator)
    angle = _uniform((count, patches), 0.0, math.pi, generator)
    is_ellipse = _chance((count, patches), 0.5, generator)
    used = _chance((count, patches), 0.6, generator)
    used[:, 0] = True
    colours = _uniform((count, patches, 3, 1, 1), 0.0, 1.0, generator)
    from_neighbour = _chance((count, patches), 0.5, generator)

    axis = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size
    result = images.clone()
    covered = torch.zeros(keypoints.shape[:2], dtype=torch.bool, device=keypoints.device)
    for i in chosen.nonzero()[:, 0].tolist():
        for k in used[i].nonzero()[:, 0].tolist():
            patch = (centre[i, k], half[i, k], angle[i, k], bool(is_ellipse[i, k]))
            mask = _in_patch(axis[None, :], axis[:, None], *patch)
            paint = images[i - 1].flip(1) if from_neighbour[i, k] else colours[i, k]
            result[i] = torch.where(mask, paint, result[i])
            covered[i] |= _in_patch(keypoints[i, :, 0], keypoints[i, :, 1], *patch)
    return result, covered


def _in_patch(
    x: torch.Tensor,
    y: torch.Tensor,
    centre: torch.Tensor,
    half: torch.Tensor,
    angle: torch.Tensor,
    is_ellipse: bool,
) -> torch.Tensor:
    """Whether positions lie in a patch with this centre (2,), half sides (2,) and turn; all in crop units."""
    x, y = x - centre[0], y - centre[1]
    along = (angle.cos() * x + angle.sin() * y).abs() / half[0]
    across = (angle.cos() * y - angle.sin() * x).abs() / half[1]
    return along.square() + across.square() <= 1.0 if is_ellipse else torch.maximum(along, across) <= 1.0


def jitter_colours(images: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation, hue and white balance as affine maps of the colours; a tone curve."""
    count = len(images)
    device = images.device
    brightness = _uniform((count,), *config.brightness, generator)
    contrast = _uniform((count,), *config.contrast, generator)
    saturation = _uniform((count,), *config.saturation, generator)
    saturation = saturation * ~_chance(count, config.grayscale_probability, generator)
    gains = 1.0 + _uniform((count, 3), -config.white_balance, config.white_balance, generator)
    gains = torch.where((saturation > 0)[:, None], gains, torch.ones_like(gains))
    hue = _uniform((count,), -math.radians(config.hue_deg), math.radians(config.hue_deg), generator)
    bend = _uniform((count, 1, 1, 1), -config.tone, config.tone, generator)

    luma = torch.tensor([0.299, 0.587, 0.114], device=device)
    to_gray = luma.expand(3, 3)  # every output channel is the luma
    identity = torch.eye(3, device=device)
    # A turn about the gray axis (Rodrigues): identity cos + cross sin + outer (1 - cos).
    third = 1.0 / math.sqrt(3.0)
    cross = third * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=device)
    cosine, sine = hue.cos()[:, None, None], hue.sin()[:, None, None]
    turn = cosine * identity + sine * cross + (1.0 - cosine) / 3.0
    saturate = saturation[:, None, None] * identity + (1.0 - saturation)[:, None, None] * to_gray
    matrix = brightness[:, None, None] * gains[:, :, None] * (saturate @ turn)  # (B, 3, 3)

    coloured = torch.bmm(matrix, images.flatten(2)).unflatten(2, images.shape[-2:])
    middle = (coloured.mean(dim=(2, 3)) @ luma)[:, None, None, None]
    stretch = contrast[:, None, None, None]
    coloured.mul_(stretch).add_(middle * (1.0 - stretch)).clamp_(0.0, 1.0)
    return torch.addcmul((1.0 + bend) * coloured, coloured, coloured * -bend)


def blur(images: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> torch.Tensor:
    """Gaussian blur of some images, longer along a random direction."""
    count = len(images)
    chosen = _chance(count, config.blur_probability, generator)
    sigma = _uniform((count, 2), *config.blur_px, generator)
    angle = _uniform((count,), 0.0, math.pi, generator)
    if not chosen.any():
        return images
    sigma, angle = sigma[chosen], angle[chosen]
    radius = 5
    axis = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along = cosine * axis[None, None, :] + sine * axis[None, :, None]
    across = cosine * axis[None, :, None] - sine * axis[None, None, :]
    exponent = (along / sigma[:, :1, None]).square() + (across / sigma[:, 1:, None]).square()
    kernels = torch.exp(-0.5 * exponent)
    kernels = kernels / kernels.sum(dim=(1, 2), keepdim=True)  # (N, 11, 11)

    selected = F.pad(images[chosen], (radius,) * 4, mode="replicate")
    stacked = selected.flatten(0, 1)[None]  # (1, 3 N, H, W)
    weights = kernels.repeat_interleave(3, dim=0)[:, None]
    blurred = F.conv2d(stacked, weights, groups=len(weights))[0].unflatten(0, (-1, 3))
    result = images.clone()
    result[chosen] = blurred
    return result


def add_noise(images: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> torch.Tensor:
    """Gaussian sensor noise on some images."""
    count = len(images)
    chosen = _chance(count, config.noise_probability, generator)
    std = _uniform((count,), 0.0, config.noise_std, generator)
    if not chosen.any():
        return images
    selected = images[chosen]
    noise = torch.randn(selected.shape, generator=generator, device=generator.device, dtype=images.dtype)
    result = images.clone()
    result[chosen] = selected + std[chosen][:, None, None, None] * noise
    return result


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _chance(shape: int | tuple[int, ...], probability: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device) < probability
