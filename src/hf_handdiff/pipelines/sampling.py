"""Sampling: the denoising loop, the noise of each hypothesis, and the two stages from conditions to joints and meshes.

Both networks predict the clean sample (x0). With it, one DDIM step (Song, Meng and Ermon 2020, eq. 12, eta 0) is

    x_s = sqrt(a_s) x0 + sqrt(1 - a_s) (x_t - sqrt(a_t) x0) / sqrt(1 - a_t),    a = cumulative product of alphas.

Hypothesis k of an image depends on the seed and k alone: not on how many are asked for, nor on the other images. So
every hypothesis has a generator of its own, seeded by (base seed, stage, k), for the noise that it starts from and for
the noise that a stochastic scheduler adds. The images of a call share the base seed, or bring their own by a list.
"""

import copy
import inspect
from collections.abc import Callable, Iterable

import numpy as np
import torch

from hf_handdiff.camera import UNKNOWN_VIEW_SCALE
from hf_handdiff.devices import to_device
from hf_handdiff.errors import InputError
from hf_handdiff.models.keypoint_distribution import DEGREES_OF_FREEDOM, KeypointDistribution
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions


def denoise(
    scheduler,
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    noise: torch.Tensor,
    num_steps: int,
    generators: list[torch.Generator] | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
    on_step: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """From noise to a sample.

    Args:
        scheduler: a diffusers scheduler with x0-prediction. It is copied: several calls may share it.
        predict: (sample (M, ...), timesteps (M,)) -> clean sample (M, ...).
        noise: (M, ...) standard normal.
        num_steps: denoising steps.
        generators: M of them, for schedulers that draw noise in their steps.
        progress: wraps the time steps, e.g. in a progress bar.
        on_step: (index, timestep, sample) -> sample, called after every step; may change the sample.

    Returns:
        (M, ...) the denoised sample, in the dtype of `noise`.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_steps)  # on the CPU: schedulers look at a time as at a number, which waits for a GPU
    each_time = to_device(scheduler.timesteps, noise.device)
    draws = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    sample = noise * scheduler.init_noise_sigma
    for index, timestep in enumerate(progress(scheduler.timesteps)):
        times = each_time[index].expand(sample.shape[0])
        clean = predict(scheduler.scale_model_input(sample, timestep), times)
        sample = scheduler.step(clean, timestep, sample, return_dict=False, **draws)[0].to(noise.dtype)
        if on_step is not None:
            sample = on_step(index, timestep, sample)
    return sample


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans 2022): unconditional + scale · (conditional - unconditional)."""
    return unconditional + scale * (conditional - unconditional)


# ------------------------------------------------------------------------------------------------ seeds and noise


def base_seeds(generator, num_images: int) -> list[int]:
    """One base seed an image.

    Args:
        generator: None (a fresh random seed), an int, one `torch.Generator` (one draw from it, for all images), or
            a list with one int or generator an image.
        num_images: images of the call.

    Raises:
        InputError: a list of another length, or something that is neither an int nor a generator.
    """
    if isinstance(generator, (list, tuple)):
        if len(generator) != num_images:
            raise InputError(
                f"generator: expected a list with one generator for each of {num_images} images, got {len(generator)}"
            )
        return [_base_seed(one) for one in generator]
    return [_base_seed(generator)] * num_images


def _base_seed(generator) -> int:
    if generator is None:
        return int(torch.randint(2**62, ()).item())
    if isinstance(generator, torch.Generator):
        return int(torch.randint(2**62, (), generator=generator, device=generator.device).item())
    if isinstance(generator, (int, np.integer)) and not isinstance(generator, bool):
        if generator < 0:
            raise InputError(f"generator: expected a seed of at least 0, got {generator}")
        return int(generator)
    raise InputError(
        f"generator: expected a torch.Generator, an int, a list of one for each image, or None, got {_kind(generator)}"
    )


def _kind(value) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"a {kind.__module__.split('.')[0]} {kind.__name__}"


def hypothesis_generators(seeds: list[int], num_hypotheses: int, stage: int) -> list[torch.Generator]:
    """A generator for each hypothesis of each image, those of an image in a row."""
    states = [[_state(seed, stage, hypothesis) for hypothesis in range(num_hypotheses)] for seed in seeds]
    return [torch.Generator().manual_seed(state) for row in states for state in row]


def _state(seed: int, stage: int, hypothesis: int) -> int:
    return int(np.random.SeedSequence([seed, stage, hypothesis]).generate_state(1, np.uint64)[0]) >> 1


def draw_noise(generators: list[torch.Generator], num_images: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise (num_images, N, *shape), float32, always drawn on the CPU."""
    rows = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    return rows.unflatten(0, (num_images, -1))


def draw_keypoints(
    points: torch.Tensor, distribution: KeypointDistribution, generators: list[torch.Generator]
) -> torch.Tensor:
    """The 2D points of each hypothesis, drawn from the joint distribution of all points of a hand.

    Drawn is what points err together; what each errs by itself (`noise`) is left to stage 1, which reads it as their
    precision: drawn independently, points tear a hand. Hypotheses come in pairs that err in opposite directions, so
    that their mean is not off by chance.

    Args:
        points: (B, 21, 2) estimates.
        distribution: of B hands, in the same units.
        generators: a generator for each hypothesis of each image, those of an image in a row.

    Returns:
        (B, N, 21, 2).
    """
    batch, _, _, rank = distribution.factors.shape
    rows = torch.stack([torch.randn(rank + DEGREES_OF_FREEDOM, generator=generator) for generator in generators])
    normal, squares = rows[:, :rank], rows[:, rank:].square()
    draws = (normal / squares.mean(1, keepdim=True).sqrt()).unflatten(0, (batch, -1))  # (B, N, R)
    draws[:, 1::2] = -draws[:, : draws.shape[1] // 2 * 2 : 2]
    return points[:, None] + torch.einsum("bkcr,bnr->bnkc", distribution.factors, draws)


# ------------------------------------------------------------------------------------------------ stages


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
    view_middle: torch.Tensor | None = None,
    device: torch.device | None = None,
    **loop,
) -> torch.Tensor:
    """Stage 1: sample joints, given 2D keypoints in their view frame.

    Args:
        joint_denoiser: a `JointDenoiser`.
        scheduler: its scheduler.
        noise: (B, N, 21, 3) standard normal.
        keypoints: (B, 21, 2) view units, or (B, N, 21, 2), each hypothesis' own.
        scores: (B, 21).
        view_scale: (B,).
        num_steps: denoising steps.
        guidance_scale: 1 samples the conditional distribution, 0 the unconditional one.
        view_middle: (B, 2) tangents, of the view; None: 0.
        device: where the network computes; None: where its weights are (offloaded ones are elsewhere).
        **loop: `generators`, `progress` and `on_step` of `denoise`.

    Returns:
        (B, N, 21, 3) m, wrist-relative, view frame, float32, on `device`.
    """
    batch, count = noise.shape[:2]
    device, dtype = _place(joint_denoiser, device)
    middle = torch.zeros(batch, 2, device=device) if view_middle is None else view_middle
    if keypoints.ndim == 3:
        keypoints = keypoints[:, None].expand(-1, count, -1, -1)
    known = to_device((scores, view_scale, middle), device)
    shared = [value.to(dtype).repeat_interleave(count, 0) for value in known]
    conditions = dict(zip(("keypoint_scores", "view_scale", "view_middle"), shared, strict=True))
    conditions["keypoints"] = to_device(keypoints, device).flatten(0, 1).to(dtype)
    ignored = torch.zeros(batch * count, dtype=torch.bool, device=device)

    def predict(sample, times):
        def clean(mask=None):
            return joint_denoiser(sample, times, **conditions, condition_mask=mask)

        return clean() if guidance_scale == 1.0 else guided(clean(), clean(ignored), guidance_scale)

    start = to_device(noise, device).flatten(0, 1).to(dtype)
    sample = denoise(scheduler, predict, start, num_steps, **loop).float()
    joints = sample.unflatten(0, (batch, count)) * joint_denoiser.config.joint_scale
    return joints - joints[:, :, :1]


@torch.no_grad()
def sample_meshes(
    mesh_latent_denoiser,
    mesh_autoencoder,
    scheduler,
    noise: torch.Tensor,
    joints: torch.Tensor | None,
    conditions: ImageConditions | None,
    num_steps: int,
    guidance_scale: float = 1.0,
    device: torch.device | None = None,
    **loop,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stage 2: sample one mesh for each joint hypothesis, given the image's conditions.

    Args:
        mesh_latent_denoiser: a `MeshLatentDenoiser`.
        mesh_autoencoder: the `MeshAutoencoder` in whose latent space it works.
        scheduler: its scheduler.
        noise: (B, N, T, C) standard normal.
        joints: (B, N, 21, 3) m, wrist-relative, view frame; None: no joints are known.
        conditions: the image's conditions, B rows, or B N, each hypothesis' own; None: neither image nor 2D keypoints.
        num_steps: denoising steps.
        guidance_scale: 1 samples the conditional distribution, 0 the unconditional one.
        device: where the network computes; None: where its weights are (offloaded ones are elsewhere).
        **loop: `generators`, `progress` and `on_step` of `denoise`.

    Returns:
        Vertices (B, N, V, 3) m, wrist-relative, and the joints (B, N, 21, 3) m that are read off them; view frame,
        float32, where the autoencoder's weights are, or on `device`.
    """
    batch, count = noise.shape[:2]
    device, dtype = _place(mesh_latent_denoiser, device)
    rows = batch * count
    use_joints = torch.full((rows,), joints is not None, device=device)
    use_image = torch.full((rows,), conditions is not None, device=device)
    ignored = torch.zeros(rows, dtype=torch.bool, device=device)
    if joints is None:
        joints = torch.zeros(batch, count, mesh_latent_denoiser.config.num_joints, 3, device=device)
    if conditions is None:
        conditions = empty_conditions(mesh_latent_denoiser.config, batch)
    joints = to_device(joints, device).flatten(0, 1).to(dtype)
    conditions = to_device(conditions, device).to(dtype)
    if len(conditions.has_image) == batch:
        conditions = conditions.repeat(count)

    def predict(sample, times):
        def clean(joints_mask, image_mask):
            return mesh_latent_denoiser(sample, times, joints, conditions, joints_mask, image_mask)

        conditional = clean(use_joints, use_image)
        return conditional if guidance_scale == 1.0 else guided(conditional, clean(ignored, ignored), guidance_scale)

    start = to_device(noise, device).flatten(0, 1).to(dtype)
    latents = denoise(scheduler, predict, start, num_steps, **loop)
    vertices = mesh_autoencoder.decode(latents.to(_place(mesh_autoencoder)[1])).float()
    with torch.autocast(vertices.device.type, enabled=False):
        joints = to_device(mesh_autoencoder.joint_regressor, vertices.device).float() @ vertices
    vertices, joints = vertices - joints[:, :1], joints - joints[:, :1]
    return vertices.unflatten(0, (batch, count)), joints.unflatten(0, (batch, count))


def _place(network: torch.nn.Module, device: torch.device | None = None) -> tuple[torch.device, torch.dtype]:
    """Where and in which precision a network computes; offloaded weights are elsewhere, so the device may be given."""
    parameter = next(network.parameters())
    return device or parameter.device, parameter.dtype


def empty_conditions(config, batch: int) -> ImageConditions:
    """Conditions for the case that nothing is known of an image: all zeros, to be masked or filled in."""
    return ImageConditions(
        has_image=torch.zeros(batch),
        point_features=torch.zeros(batch, config.num_joints, config.point_feature_size),
        global_features=torch.zeros(batch, config.global_feature_size),
        encoder_joints=torch.zeros(batch, config.num_joints, 3),
        keypoints=torch.zeros(batch, config.num_joints, 2),
        keypoint_scores=torch.zeros(batch, config.num_joints),
        view_scale=torch.full((batch,), UNKNOWN_VIEW_SCALE),
        view_middle=torch.zeros(batch, 2),
    )
