"""Hands of other images of a batch, cut out and pasted over some images: occluders that look like the hand itself.

They are mirrored: the corpus has right hands, so what is pasted are left ones, and which hand is asked for stays clear.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from hf_handdiff.hand.topology import BONES

FLESH_RADIUS_M = 0.007
"""Half the thickness that every finger has at least: what is cut out is flesh and no background."""
PALM = (0, 1, 5, 9, 13, 17)
MAX_TURN = math.radians(60)
SCALE = (0.6, 1.2)
MASK_THRESHOLD = 0.5


def paste_hands(
    images: torch.Tensor,
    keypoints: torch.Tensor,
    flesh_radius: torch.Tensor,
    has_hand: torch.Tensor,
    probability: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste the hand of the image before it in the batch over some images, mirrored, turned and scaled.

    Args:
        images: (B, 3, S, S).
        keypoints: (B, 21, 2) crop units.
        flesh_radius: (B,) `FLESH_RADIUS_M` as it appears in each crop, crop units.
        has_hand: (B,) bool; images without a hand are neither cut from nor pasted over.
        probability: share of images that get a hand.
        generator: source of all randomness.

    Returns:
        The images, and which of the keypoints (B, 21) bool are covered.
    """
    count, size = len(images), images.shape[-1]
    covered = torch.zeros(keypoints.shape[:2], dtype=torch.bool, device=images.device)
    donor = torch.arange(count, device=images.device).roll(1)
    wanted = torch.rand(count, generator=generator, device=generator.device) < probability
    over = (wanted & has_hand & has_hand[donor]).nonzero()[:, 0]
    motion = _random_motion(keypoints[over], keypoints[donor[over]], generator)
    if len(over) == 0:
        return images, covered
    outlines = zip(keypoints[donor[over]].cpu().numpy(), flesh_radius[donor[over]].tolist(), strict=True)
    masks = torch.stack([hand_mask(points, radius, size) for points, radius in outlines]).to(images)
    layers = torch.cat([images[donor[over]], masks[:, None]], dim=1)
    grid = F.affine_grid(motion, [len(over), 4, size, size], align_corners=False)
    layers = F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    colours, alpha = layers[:, :3], layers[:, 3:]
    result = images.clone()
    result[over] = alpha * colours + (1 - alpha) * result[over]
    places = 2 * keypoints[over][:, :, None] - 1
    alpha_there = F.grid_sample(alpha, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    covered[over] = alpha_there[:, 0, :, 0] > MASK_THRESHOLD
    return result, covered


def hand_mask(keypoints: np.ndarray, flesh_radius: float, size: int) -> torch.Tensor:
    """Where a hand of keypoints (21, 2), crop units, is flesh for sure: (S, S) float 0..1."""
    picture = Image.new("L", (size, size))
    draw = ImageDraw.Draw(picture)
    points = [tuple(point) for point in (size * keypoints).tolist()]
    radius = max(size * flesh_radius, 1.0)
    draw.polygon([points[joint] for joint in PALM], fill=255)
    for parent, child in BONES:
        draw.line([points[parent], points[child]], fill=255, width=round(2 * radius))
    for x, y in points:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


def _random_motion(target: torch.Tensor, source: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Maps (N, 2, 3) for `affine_grid`, from places in the target's crop to the source's, -1..1.

    The middle of the source hand comes to lie near a random keypoint of the target hand, both (N, 21, 2).
    """
    count = len(target)

    def uniform(low, high, shape=(count,)):
        return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)

    joint = torch.randint(target.shape[1], (count,), generator=generator, device=generator.device)
    angle, scale = uniform(-MAX_TURN, MAX_TURN), torch.exp(uniform(math.log(SCALE[0]), math.log(SCALE[1])))
    goal = target[torch.arange(count), joint] + uniform(-0.1, 0.1, (count, 2))
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    linear = torch.stack([torch.stack([-cosine, sine], -1), torch.stack([sine, cosine], -1)], -2)
    offset = (2 * source.mean(1) - 1) - (linear @ (2 * goal - 1)[..., None])[..., 0]
    return torch.cat([linear, offset[..., None]], dim=-1)
