"""The two stages as functions: from cues and noise to joints, and on to meshes."""

import torch

from ..models.mesh_latent_denoiser import ImageCues
from .denoising import denoise, guided


@torch.no_grad()
def sample_joints(
    joint_denoiser,
    scheduler,
    noise: torch.Tensor,
    keypoints: torch.Tensor,
    scores: torch.Tensor,
    view_scale: torch.Tensor,
    num_steps: int,
    guidance_scale: float = 1.0,
    **loop,
) -> torch.Tensor:
    """Stage 1: sample joints, given 2D keypoints in their view frame.

    Args:
        joint_denoiser: a `JointDenoiser`.
        scheduler: its scheduler.
        noise: (B, N, 21, 3) standard normal.
        keypoints: (B, 21, 2) view units.
        scores: (B, 21).
        view_scale: (B,).
        num_steps: denoising steps.
        guidance_scale: 1 samples the conditional distribution, 0 the unconditional one.
        **loop: `progress` and `on_step` of `denoising.denoise`.

    Returns:
        (B, N, 21, 3) m, wrist-relative, view frame, float32.
    """
    batch, count = noise.shape[:2]
    parameter = next(joint_denoiser.parameters())
    conditions = [
        value.to(parameter.device, parameter.dtype).repeat_interleave(count, 0)
        for value in (keypoints, scores, view_scale)
    ]
    ignored = torch.zeros(batch * count, dtype=torch.bool, device=parameter.device)

    def predict(sample, times):
        def clean(mask=None):
            return joint_denoiser(sample, times, *conditions, condition_mask=mask)

        return clean() if guidance_scale == 1.0 else guided(clean(), clean(ignored), guidance_scale)

    start = noise.flatten(0, 1).to(parameter.device, parameter.dtype)
    sample = denoise(scheduler, predict, start, num_steps, **loop).float().cpu()
    joints = sample.unflatten(0, (batch, count)) * joint_denoiser.config.joint_scale
    return joints - joints[:, :, :1]


@torch.no_grad()
def sample_meshes(
    mesh_latent_denoiser,
    mesh_autoencoder,
    scheduler,
    noise: torch.Tensor,
    joints: torch.Tensor | None,
    cues: ImageCues | None,
    num_steps: int,
    guidance_scale: float = 1.0,
    **loop,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stage 2: sample one mesh for each joint hypothesis, given the image's cues.

    Args:
        mesh_latent_denoiser: a `MeshLatentDenoiser`.
        mesh_autoencoder: the `MeshAutoencoder` in whose latent space it works.
        scheduler: its scheduler.
        noise: (B, N, T, C) standard normal.
        joints: (B, N, 21, 3) m, wrist-relative, view frame; None: no joints are known.
        cues: the image's cues, B rows; None: neither image nor 2D keypoints.
        num_steps: denoising steps.
        guidance_scale: 1 samples the conditional distribution, 0 the unconditional one.
        **loop: `progress` and `on_step` of `denoising.denoise`.

    Returns:
        Vertices (B, N, V, 3) m, wrist-relative, and the joints (B, N, 21, 3) m that are read off them; view frame,
        float32.
    """
    batch, count = noise.shape[:2]
    parameter = next(mesh_latent_denoiser.parameters())
    rows, device = batch * count, parameter.device
    use_joints = torch.full((rows,), joints is not None, device=device)
    use_image = torch.full((rows,), cues is not None, device=device)
    ignored = torch.zeros(rows, dtype=torch.bool, device=device)
    if joints is None:
        joints = torch.zeros(batch, count, mesh_latent_denoiser.config.num_joints, 3)
    if cues is None:
        cues = empty_cues(mesh_latent_denoiser.config, batch)
    joints = joints.flatten(0, 1).to(device, parameter.dtype)
    cues = cues.to(device, parameter.dtype).repeat(count)

    def predict(sample, times):
        def clean(joints_mask, image_mask):
            return mesh_latent_denoiser(sample, times, joints, cues, joints_mask, image_mask)

        conditional = clean(use_joints, use_image)
        return conditional if guidance_scale == 1.0 else guided(conditional, clean(ignored, ignored), guidance_scale)

    start = noise.flatten(0, 1).to(device, parameter.dtype)
    latents = denoise(scheduler, predict, start, num_steps, **loop)
    vertices = mesh_autoencoder.decode(latents.to(next(mesh_autoencoder.parameters()).dtype)).float().cpu()
    joints = mesh_autoencoder.joint_regressor.float().cpu() @ vertices
    vertices, joints = vertices - joints[:, :1], joints - joints[:, :1]
    return vertices.unflatten(0, (batch, count)), joints.unflatten(0, (batch, count))


def empty_cues(config, batch: int) -> ImageCues:
    """Cues for the case that nothing is known of an image: all zeros, to be masked or filled in."""
    return ImageCues(
        has_image=torch.zeros(batch),
        point_features=torch.zeros(batch, config.num_joints, config.point_feature_size),
        global_features=torch.zeros(batch, config.global_feature_size),
        rough_joints=torch.zeros(batch, config.num_joints, 3),
        keypoints=torch.zeros(batch, config.num_joints, 2),
        keypoint_scores=torch.zeros(batch, config.num_joints),
        view_scale=torch.full((batch,), 0.2),
    )
