"""Batched augmentation of the synthetic corpus: random crops, colours, blur, noise and patches, labels kept consistent.

Everything random is drawn from the generator that the caller passes; there is no other state.

**Geometry.** A training crop is a similarity of the image (turn, scale, shift).  Turning an image by R about any point is
exactly what the camera sees when the world turns by R about its optical axis, up to a shift of the principal point: with
u = f X/Z + p and u' = s R (u - c) + c', u' = (s f) (R X)/Z + [s R (p - c) + c'].  So the 3D labels are multiplied by the
rotation about the camera's z axis and the intrinsics get the new focal length and principal point; no approximation is
made, whatever the place of the hand in the image, as long as pixels are square (fx = fy, no skew).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from hf_handdiff.camera import BOX_MARGIN


@dataclass(frozen=True)
class AugmentationConfig:
    """How strongly to augment; probabilities are per image.

    size: side of the crops in px.
    any_rotation_probability: share of images turned by any angle; the others by up to `small_rotation_deg` either way.
    scale: range of the factor on the crop's side (above 1 the hand is smaller than usual).
    shift: largest shift of the crop either way, in sides of the keypoints' box.
    brightness, contrast, saturation: ranges of factors; white_balance: largest relative gain of a channel, either way;
        hue_deg: largest turn of the hue either way; tone: largest bend of the tone curve either way.
    grayscale_probability: share of gray images.
    blur_probability, blur_px: share blurred and range of the standard deviation in px, along and across apart.
    noise_probability, noise_std: share with noise and its largest standard deviation, of 0..1.
    patch_probability, max_patches, patch_size: share of images with patches, how many at most, and the range of their
        sides as a share of the crop.
    """

    size: int = 224
    any_rotation_probability: float = 0.5
    small_rotation_deg: float = 30.0
    scale: tuple[float, float] = (0.75, 1.35)
    shift: float = 0.15
    brightness: tuple[float, float] = (0.6, 1.45)
    contrast: tuple[float, float] = (0.6, 1.4)
    saturation: tuple[float, float] = (0.4, 1.5)
    white_balance: float = 0.15
    hue_deg: float = 12.0
    tone: float = 0.4
    grayscale_probability: float = 0.08
    blur_probability: float = 0.35
    blur_px: tuple[float, float] = (0.3, 3.0)
    noise_probability: float = 0.35
    noise_std: float = 0.06
    patch_probability: float = 0.4
    max_patches: int = 3
    patch_size: tuple[float, float] = (0.08, 0.4)


def augment_batch(
    batch: dict[str, torch.Tensor], generator: torch.Generator, config: AugmentationConfig | None = None
) -> dict[str, torch.Tensor]:
    """Random crops of a corpus batch with their labels.

    Args:
        batch: columns of the corpus: image (B, 3, H, W) uint8, has_hand (B,) bool, keypoints_2d_px (B, 21, 2),
            keypoints_visible (B, 21) bool, joints_m (B, 21, 3), intrinsics_px (B, 3, 3); vertices_m (B, V, 3) if wanted.
        generator: source of all randomness, on the batch's device.
        config: strengths; the default ones if None.

    Returns:
        pixel_values (B, 3, S, S) float in 0..1, has_hand (B,) bool, keypoints (B, 21, 2) crop units, keypoints_visible
        (B, 21) bool (False also outside the crop and under a patch), joints_m and vertices_m in the turned camera frame,
        intrinsics_px (B, 3, 3) of the crop's pixels, rotation (B, 3, 3) about z from the old camera frame to the new.
    """
    config = config or AugmentationConfig()
    has_hand = batch["has_hand"].bool()
    image_size = batch["image"].shape[-1]
    centre, side, angle = sample_crops(batch["keypoints_2d_px"], has_hand, image_size, generator, config)
    cropped = crop_batch(batch, centre, side, angle, config.size)
    pixel_values = fill_outside(cropped.pop("pixel_values"), cropped.pop("inside"), generator)

    masks, covered = sample_patches(cropped["keypoints"], config, generator)
    pixel_values = paint_patches(pixel_values, masks, generator)
    pixel_values = jitter_colours(pixel_values, config, generator)
    pixel_values = blur(pixel_values, config, generator)
    pixel_values = add_noise(pixel_values, config, generator)
    cropped["keypoints_visible"] &= ~covered
    return {"pixel_values": pixel_values.clamp_(0.0, 1.0), "has_hand": has_hand, **cropped}


def centre_crop_batch(batch: dict[str, torch.Tensor], size: int = 224) -> dict[str, torch.Tensor]:
    """The crops and labels of `augment_batch` without anything random: what validation uses.  Outside is black."""
    has_hand = batch["has_hand"].bool()
    box_centre, box_side = hand_boxes(batch["keypoints_2d_px"], has_hand, batch["image"].shape[-1])
    cropped = crop_batch(batch, box_centre, BOX_MARGIN * box_side, torch.zeros_like(box_side), size)
    pixel_values = cropped.pop("pixel_values") * cropped.pop("inside")
    return {"pixel_values": pixel_values, "has_hand": has_hand, **cropped}


# ---------------------------------------------------------------------------------------------------------- geometry


def hand_boxes(
    keypoints_px: torch.Tensor, has_hand: torch.Tensor, image_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (B, 2) and larger side (B,) in px of the box round the keypoints (B, 21, 2).

    Images without a hand get the box whose crop is the whole image.
    """
    low, high = keypoints_px.amin(dim=1), keypoints_px.amax(dim=1)
    centre, side = (low + high) / 2, (high - low).amax(dim=1)
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
    """Random crops: centre (B, 2) px, side (B,) px, angle (B,) rad by which the picture turns (x towards y)."""
    centre, side = hand_boxes(keypoints_px, has_hand, image_size)
    count = len(side)
    shift = _uniform((count, 2), -config.shift, config.shift, generator)
    scale = torch.exp(_uniform((count,), math.log(config.scale[0]), math.log(config.scale[1]), generator))
    small = math.radians(config.small_rotation_deg)
    any_angle = _uniform((count,), -math.pi, math.pi, generator)
    small_angle = _uniform((count,), -small, small, generator)
    angle = torch.where(_chance(count, config.any_rotation_probability, generator), any_angle, small_angle)
    return centre + shift * side[:, None], BOX_MARGIN * scale * side, angle


def crop_batch(
    batch: dict[str, torch.Tensor], centre: torch.Tensor, side: torch.Tensor, angle: torch.Tensor, size: int
) -> dict[str, torch.Tensor]:
    """Cuts turned squares out of the images and carries the labels along; see the module's note on the geometry.

    centre (B, 2) px, side (B,) px, angle (B,) rad.  Besides the labels: pixel_values (B, 3, S, S) float in 0..1, continued
    beyond the image by its border, and inside (B, 1, S, S) bool, where the crop shows the image.
    """
    image = batch["image"]
    count, _, height, width = image.shape
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)  # (B, 2, 2) old to new

    # What affine_grid wants: from crop positions in -1..1 to image positions in -1..1 (both axes apart).
    image_extent = torch.tensor([width, height], dtype=centre.dtype, device=centre.device)
    linear = side[:, None, None] * turn.transpose(1, 2) / image_extent[:, None]
    offset = 2.0 * centre / image_extent - 1.0
    theta = torch.cat([linear, offset[..., None]], dim=-1)
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    pixels = F.grid_sample(
        image.to(torch.float32) / 255.0, grid, mode="bilinear", padding_mode="border", align_corners=False
    )

    keypoints = torch.einsum("bij,bkj->bki", turn, batch["keypoints_2d_px"] - centre[:, None]) / side[:, None, None]
    keypoints = keypoints + 0.5
    in_crop = ((keypoints >= 0.0) & (keypoints <= 1.0)).all(dim=-1)

    rotation = torch.zeros(count, 3, 3, dtype=turn.dtype, device=turn.device)
    rotation[:, :2, :2] = turn
    rotation[:, 2, 2] = 1.0
    labels = {
        "pixel_values": pixels,
        "inside": (grid.abs() <= 1.0).all(dim=-1)[:, None],
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


# -------------------------------------------------------------------------------------------------------- appearance


def fill_outside(images: torch.Tensor, inside: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Outside of the source image: half keep its continued border, the others black or one random colour."""
    count = len(images)
    keep = _chance(count, 0.5, generator)[:, None, None, None]
    black = _chance(count, 0.5, generator)[:, None, None, None]
    colour = _uniform((count, 3, 1, 1), 0.0, 1.0, generator) * ~black
    return torch.where(inside | keep, images, colour)


def sample_patches(
    keypoints: torch.Tensor, config: AugmentationConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random turned rectangles and ellipses: masks (B, P, S, S) bool, and which keypoints (B, 21) they cover."""
    count, patches, size = len(keypoints), config.max_patches, config.size
    centre = _uniform((count, patches, 2), 0.0, 1.0, generator)
    half = _uniform((count, patches, 2), config.patch_size[0] / 2, config.patch_size[1] / 2, generator)
    angle = _uniform((count, patches), 0.0, math.pi, generator)
    round_ = _chance((count, patches), 0.5, generator)
    used = torch.rand((count, patches), generator=generator, device=generator.device) < 0.6
    used[:, 0] = True
    used &= _chance(count, config.patch_probability, generator)[:, None]

    axis = (torch.arange(size, device=keypoints.device, dtype=keypoints.dtype) + 0.5) / size
    cosine, sine = angle.cos(), angle.sin()

    def contains(x: torch.Tensor, y: torch.Tensor, extra_dims: int) -> torch.Tensor:
        """Whether positions, already relative to the centres, lie in the patches."""
        shape = (count, patches) + (1,) * extra_dims
        c, s = cosine.view(shape), sine.view(shape)
        along = (c * x + s * y).abs() / half[..., 0].view(shape)
        across = (c * y - s * x).abs() / half[..., 1].view(shape)
        in_ellipse = along.square() + across.square() <= 1.0
        in_rectangle = torch.maximum(along, across) <= 1.0
        return torch.where(round_.view(shape), in_ellipse, in_rectangle) & used.view(shape)

    grid_x = axis[None, None, None, :] - centre[..., 0, None, None]
    grid_y = axis[None, None, :, None] - centre[..., 1, None, None]
    masks = contains(grid_x, grid_y, 2)
    relative = keypoints[:, None] - centre[:, :, None]  # (B, P, 21, 2)
    covered = contains(relative[..., 0], relative[..., 1], 1).any(dim=1)
    return masks, covered


def paint_patches(images: torch.Tensor, masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Paints masks (B, P, S, S): one colour, or what a neighbour in the batch shows there, turned upside down."""
    count, patches = masks.shape[:2]
    colours = _uniform((count, patches, 3, 1, 1), 0.0, 1.0, generator)
    from_neighbour = _chance((count, patches), 0.5, generator)
    neighbours = images.roll(1, dims=0).flip(-2)
    for index in range(patches):
        chosen = from_neighbour[:, index, None, None, None]
        paint = torch.where(chosen, neighbours, colours[:, index])
        images = torch.where(masks[:, index, None], paint, images)
    return images


def jitter_colours(images: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation, hue and white balance as one affine map of the colours, then a tone curve."""
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
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=device) / math.sqrt(3.0)
    cosine, sine = hue.cos()[:, None, None], hue.sin()[:, None, None]
    turn = cosine * identity + sine * cross + (1.0 - cosine) / 3.0
    saturate = saturation[:, None, None] * identity + (1.0 - saturation)[:, None, None] * to_gray
    matrix = brightness[:, None, None] * gains[:, :, None] * (saturate @ turn)  # (B, 3, 3)

    coloured = torch.bmm(matrix, images.flatten(2)).unflatten(2, images.shape[-2:])
    middle = torch.einsum("c,bchw->b", luma, coloured)[:, None, None, None] / images[0, 0].numel()
    coloured = ((coloured - middle) * contrast[:, None, None, None] + middle).clamp_(0.0, 1.0)
    return coloured + bend * coloured * (1.0 - coloured)


def blur(images: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> torch.Tensor:
    """Gaussian blur of some images, longer along a random direction, which also stands for motion blur."""
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
