"""Stage 1's network: from noisy 3D joints and 2D conditions to clean 3D joints."""

import torch
from huggingface_hub.dataclasses import strict

from hf_handdiff.camera import log_view_scale
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
    """

    model_type = "handdiff_joint_denoiser"

    hidden_size: int = 704
    num_blocks: int = 4
    time_embedding_size: int = 128
    num_joints: int = 21
    joint_scale: float | int = 0.07


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
    ) -> torch.Tensor:
        """One denoising estimate.

        Args:
            sample: (B, 21, 3) noisy wrist-relative joints, in units of `config.joint_scale` metres, view frame.
            timestep: (B,) diffusion steps, 0..999.
            keypoints: (B, 21, 2) 2D points in the view frame, half extent 1. Rows with score 0 are not read.
            keypoint_scores: (B, 21) 0..1 confidence; 0 means not seen.
            view_scale: (B,) tangent of the half angle that the points span.
            condition_mask: (B,) bool, False where the 2D conditions are to be ignored (unconditional sampling and
                classifier-free guidance). None: all conditioned.

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
        return self.trunk(features, timestep).view(batch, self.config.num_joints, 3)
