"""Stage 1's network: from noisy 3D joints and 2D conditions to clean 3D joints."""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from hf_handdiff.camera import log_view_scale, solve_translation
from hf_handdiff.models.base import HandModel, HandModelConfig
from hf_handdiff.models.residual_mlp import ResidualMLP


@strict
class JointDenoiserConfig(HandModelConfig):
    """Configuration of a [`JointDenoiser`].

    You will most likely change `hidden_size` and `num_blocks`; the rest belongs to the data.

    Args:
        hidden_size: width of the residual MLP. 704 with four blocks is 4.9 M parameters.
        num_blocks: residual blocks.
        time_embedding_size: size of the sinusoidal embedding of the diffusion time.
        num_joints: joints per hand, in the package's order (wrist first).
        joint_scale: metres per unit of the diffused variable: joints are divided by it so that their spread
            over all hands and rotations is about one, as the noise schedule expects.
        consistency: whether every estimate is moved towards the rays of the 2D points (see [`RayConsistency`]);
            False in checkpoints from before there was such a layer.
        consistency_hidden_size: width of the layer that decides how far.
    """

    model_type = "handdiff_joint_denoiser"

    hidden_size: int = 704
    num_blocks: int = 4
    time_embedding_size: int = 128
    num_joints: int = 21
    joint_scale: float | int = 0.07
    consistency: bool = False
    consistency_hidden_size: int = 16


class RayConsistency(nn.Module):
    """Moves estimated joints sideways, towards the rays of their 2D points, as far as these points are sure.

    The hand is first placed where it fits the rays best. Each joint then goes a share of the way to its ray, at its own
    depth. The range-space step of DDNM (Wang, Yu and Zhang 2022) with the share learned: the noise of a point and the
    diffusion time decide it, as r^2 / (r^2 + sigma^2) does in PiGDM (Song et al. 2023).
    """

    NEAREST_M, FARTHEST_M = 0.15, 3.0

    def __init__(self, hidden_size: int):
        super().__init__()
        self.share = nn.Sequential(nn.Linear(3, hidden_size), nn.SiLU(), nn.Linear(hidden_size, 1))
        nn.init.zeros_(self.share[-1].weight)
        nn.init.ones_(self.share[-1].bias)

    def forward(
        self, joints: torch.Tensor, rays: torch.Tensor, scores: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        """Move the joints.

        Args:
            joints: (B, 21, 3) m, view frame.
            rays: (B, 21, 2) tangents.
            scores: (B, 21) 0..1 precision of each point, see `score_of_noise`; 0: the joint stays.
            timestep: (B,) 0..999.

        Returns:
            (B, 21, 3) m, wrist at 0.
        """
        joints = joints - joints[:, :1]
        place = solve_translation(rays, joints, scores.square())  # (B, 3)
        place_z = place[:, None, 2:].clamp(self.NEAREST_M, self.FARTHEST_M)
        depth = (joints[..., 2:] + place_z).clamp_min(0.05)
        aside = rays * depth - (joints[..., :2] + place[:, None, :2])  # (B, 21, 2)
        time = (timestep.to(scores.dtype) / 500.0 - 1.0)[:, None].expand_as(scores)
        precision = torch.log10((1 - scores) / scores.clamp_min(1e-3) + 1e-3)  # log of the noise's square, from -3
        known = torch.stack([scores, precision, time], -1).to(self.share[0].weight.dtype)
        share = self.share(known).to(joints.dtype).sigmoid() * (scores > 0)[..., None]
        moved = torch.cat([joints[..., :2] + share * aside, joints[..., 2:]], dim=-1)
        return moved - moved[:, :1]


HALF_SURE_NOISE = 0.05
"""Noise of a 2D point, in half extents of the hand's box, at which its score is a half."""


def score_of_noise(noise: torch.Tensor) -> torch.Tensor:
    """Scores 0..1 as the network reads them, of the standard deviations of 2D points in view units: 1 is exact."""
    return 1 / (1 + (noise / HALF_SURE_NOISE).square())


def noise_of_score(scores: torch.Tensor) -> torch.Tensor:
    """The inverse of `score_of_noise`; scores of 0 count as next to 0."""
    return HALF_SURE_NOISE * (1 / scores.clamp_min(1e-4) - 1).sqrt()


class JointDenoiser(HandModel):
    """Predicts the clean joints (x0) of stage 1, given noisy ones and what is known in 2D.

    Everything is in the view frame of the keypoints (`hf_handdiff.camera.view_from_keypoints`): z passes
    through the middle of the 2D points and their half extent is one, so that the network never needs to know
    where in the photo the hand was.
    """

    config_class = JointDenoiserConfig
    base_model_prefix = "joint_denoiser"
    main_input_name = "sample"

    def __init__(self, config: JointDenoiserConfig):
        super().__init__(config)
        joints = config.num_joints
        # noisy joints, 2D points, scores, log of the view's angular half size, is-conditioned flag
        self.trunk = ResidualMLP(
            joints * 3 + joints * 3 + 2,
            joints * 3,
            config.hidden_size,
            config.num_blocks,
            config.time_embedding_size,
        )
        self.consistency = RayConsistency(config.consistency_hidden_size) if config.consistency else None
        self.post_init()

    def _init_weights(self, module):
        """Keep PyTorch's own initialisation: the modules set what differs."""

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        keypoints: torch.Tensor,
        keypoint_scores: torch.Tensor,
        view_scale: torch.Tensor,
        condition_mask: torch.Tensor | None = None,
        view_middle: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One denoising estimate.

        Args:
            sample: (B, 21, 3) noisy wrist-relative joints, in units of `config.joint_scale` metres, view frame.
            timestep: (B,) diffusion steps, 0..999.
            keypoints: (B, 21, 2) 2D points in the view frame, half extent 1. Rows with score 0 are not read.
            keypoint_scores: (B, 21) 0..1 confidence; 0 means not seen. With `config.consistency` they are
                `score_of_noise` of the points' noise, 1 for exact ones.
            view_scale: (B,) tangent of the half angle that the points span.
            condition_mask: (B,) bool, False where the 2D conditions are to be ignored (unconditional sampling and
                classifier-free guidance). None: all conditioned.
            view_middle: (B, 2) tangents of the view's middle, see `KeypointView`; None: 0. Read with
                `config.consistency` alone.

        Returns:
            (B, 21, 3) predicted clean joints, same units and frame as `sample`.
        """
        batch = sample.shape[0]
        if condition_mask is None:
            condition_mask = torch.ones(batch, dtype=torch.bool, device=sample.device)
        known = condition_mask.to(sample.dtype)[:, None]  # (B, 1)
        scores = keypoint_scores.to(sample.dtype) * known
        points = torch.where(scores[..., None] > 0, keypoints, 0).to(sample.dtype)
        log_scale = log_view_scale(view_scale.to(sample.dtype))[:, None]
        features = torch.cat([sample.flatten(1), points.flatten(1), scores, log_scale * known, known], dim=-1)
        clean = self.trunk(features, timestep).view(batch, self.config.num_joints, 3)
        if self.consistency is None:
            return clean
        rays = points * view_scale.to(points.dtype)[:, None, None]
        if view_middle is not None:
            rays = rays + view_middle.to(points.dtype)[:, None]
        scale = self.config.joint_scale
        with torch.autocast(clean.device.type, enabled=False):  # millimetres at a metre: more than bfloat16 can tell
            moved = self.consistency(clean.float() * scale, rays.float(), scores.float(), timestep) / scale
        return moved.to(clean.dtype)
