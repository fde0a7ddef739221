"""A rendered hand that moves, and a small pipeline whose hands stay where they are looked for."""

import copy
from fractions import Fraction

import numpy as np
import torch

from hf_handdiff.camera import BOX_MARGIN
from hf_handdiff.video.writing import VideoWriter
from hf_handdiff.viz.raster import shade

FRAMES, WIDTH, HEIGHT = 7, 161, 120


def write_clip(path, hand_layer):
    """A hand that moves to the right, as a video; returns its frames (T, H, W, 3)."""
    hand = hand_layer(torch.zeros(1, 16, 3), torch.zeros(1, 10))
    vertices = hand.vertices[0].numpy() @ np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8)
    for t in range(FRAMES):
        places = vertices[:, :2] * 400 + [60 + 4 * t, 100]
        picture = np.asarray(shade(vertices, hand_layer.faces.numpy(), places, np.full((778, 3), 200.0), HEIGHT))
        covered = picture[..., 3] > 0
        frames[t, :, :HEIGHT][covered] = picture[..., :3][covered]
    with VideoWriter(path, Fraction(25)) as writer:
        for t, pixels in enumerate(frames):
            writer.write(pixels, t / 25)
    return frames


def staying_pipeline(tiny_pipeline):
    """Its keypoints lie on the diagonals of what would be the box of the crop: a hand stays where it is looked for."""
    pipeline = copy.deepcopy(tiny_pipeline)
    half = 0.5 / BOX_MARGIN
    ramp = torch.linspace(0.5 - half, 0.5 + half, 21)
    mixed = ramp[torch.randperm(21, generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        pipeline.image_encoder.landmark_head.weight.zero_()
        pipeline.image_encoder.landmark_head.bias.copy_(torch.stack([mixed, ramp.flip(0)], dim=-1).flatten())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
