"""What makes photos poor and needs their pixels alone: a shaken or unfocused camera, low resolution, compression.

Points keep their place under all of them. Photos and renders get the same; what needs the scene, such as a hand that
moves before a still background, is rendered. All write into the images that they are given, and return them.
"""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


def shake(
    images: torch.Tensor, probability: float, length_px: tuple[float, float], generator: torch.Generator
) -> torch.Tensor:
    """Motion blur of some of the images (B, 3, S, S): along a straight line, `length_px` long, in any direction."""
    chosen, amount = _draw(len(images), probability, length_px, generator)
    angle = math.pi * torch.rand(len(images), generator=generator, device=generator.device)
    radius = math.ceil(length_px[1] / 2) + 1
    axis = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    cosine, sine = angle[chosen].cos()[:, None, None], angle[chosen].sin()[:, None, None]
    along = (cosine * axis[None, None, :] + sine * axis[None, :, None]).abs()
    across = (cosine * axis[None, :, None] - sine * axis[None, None, :]).abs()
    half = amount[chosen][:, None, None] / 2
    kernels = (half + 0.5 - along).clamp(0, 1) * (1.0 - across).clamp(min=0)
    return _filtered(images, chosen, kernels)


def defocus(
    images: torch.Tensor, probability: float, radius_px: tuple[float, float], generator: torch.Generator
) -> torch.Tensor:
    """Some of the images (B, 3, S, S) out of focus: every point becomes a disc of `radius_px`."""
    chosen, amount = _draw(len(images), probability, radius_px, generator)
    reach = math.ceil(radius_px[1])
    axis = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    distance = torch.hypot(axis[None, :], axis[:, None])
    return _filtered(images, chosen, (amount[chosen][:, None, None] + 0.5 - distance).clamp(0, 1))


def lower_resolution(
    images: torch.Tensor, probability: float, factor: tuple[float, float], generator: torch.Generator
) -> torch.Tensor:
    """Shrink some of the images (B, 3, S, S) by a factor, evenly in its logarithm, and enlarge them again."""
    logs = (math.log(factor[0]), math.log(factor[1]))
    chosen, amount = _draw(len(images), probability, logs, generator)
    smooth = torch.rand(len(images), generator=generator, device=generator.device) < 0.7
    side = images.shape[-1]
    for i in chosen.nonzero()[:, 0].tolist():
        small = max(round(side * math.exp(float(amount[i]))), 8)
        shrunk = F.interpolate(images[i : i + 1], size=(small, small), mode="area")
        mode = "bicubic" if smooth[i] else "bilinear"
        enlarged = F.interpolate(shrunk, size=(side, side), mode=mode, align_corners=False)
        images[i] = enlarged[0].clamp_(0.0, 1.0)
    return images


def compress(
    images: torch.Tensor, probability: float, quality: tuple[int, int], generator: torch.Generator
) -> torch.Tensor:
    """JPEG of a `quality` in that range, both ends included, and back, for some of the images (B, 3, S, S) in 0..1."""
    chosen, amount = _draw(len(images), probability, (quality[0], quality[1] + 1), generator)
    for i in chosen.nonzero()[:, 0].tolist():
        pixels = (255 * images[i].clamp(0.0, 1.0)).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=min(int(amount[i]), quality[1]))
        with Image.open(file) as picture:
            decoded = torch.from_numpy(np.array(picture.convert("RGB")))
        images[i] = decoded.permute(2, 0, 1).to(images) / 255.0
    return images


def _draw(
    count: int, probability: float, bounds: tuple[float, float], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of `count` images are changed (B,) bool, and how much (B,), evenly within `bounds`."""
    chosen, amount = torch.rand((2, count), generator=generator, device=generator.device)
    return chosen < probability, bounds[0] + (bounds[1] - bounds[0]) * amount


def _filtered(images: torch.Tensor, chosen: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Each of the chosen images under a kernel of its own (N, K, K), which is brought to sum to 1."""
    if not chosen.any():
        return images
    weights = (kernels / kernels.sum(dim=(1, 2), keepdim=True)).repeat_interleave(3, dim=0)[:, None]
    padded = F.pad(images[chosen], (kernels.shape[-1] // 2,) * 4, mode="replicate")
    filtered = F.conv2d(padded.flatten(0, 1)[None], weights, groups=len(weights))[0].unflatten(0, (-1, 3))
    images[chosen] = filtered
    return images
