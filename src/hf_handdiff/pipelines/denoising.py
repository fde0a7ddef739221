"""The denoising of both stages, written once: schedules, guidance and the loop from noise to a sample.

Both networks predict the clean sample (x0). With it, one DDIM step (Song, Meng and Ermon 2020, eq. 12, eta 0) is

    x_s = sqrt(a_s) x0 + sqrt(1 - a_s) (x_t - sqrt(a_t) x0) / sqrt(1 - a_t),    a = cumulative product of alphas.

The hypotheses differ because each starts from noise of its own.
"""

from collections.abc import Callable, Iterable

import torch
from diffusers import DDIMScheduler

NUM_TRAIN_TIMESTEPS = 1000


def default_scheduler() -> DDIMScheduler:
    """The schedule that both stages are trained with: cosine (Nichol and Dhariwal 2021), x0-prediction."""
    return DDIMScheduler(
        num_train_timesteps=NUM_TRAIN_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=False,  # on by default, and it would cut off everything beyond ±1
        set_alpha_to_one=True,
        timestep_spacing="trailing",  # start from pure noise
    )


def check_scheduler(scheduler, name: str) -> None:
    """Refuse a scheduler whose parametrisation is not the one that the networks were trained with.

    Raises:
        ValueError: with the scheduler's name, what was found and what was expected.
    """
    config = scheduler.config
    if config.get("prediction_type") != "sample" or config.get("clip_sample", False):
        raise ValueError(
            f"{name}: expected a scheduler with prediction_type='sample' and clip_sample=False, got "
            f"{type(scheduler).__name__} with prediction_type={config.get('prediction_type')!r}, "
            f"clip_sample={config.get('clip_sample')!r}"
        )


def denoise(
    scheduler,
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    noise: torch.Tensor,
    num_steps: int,
    progress: Callable[[Iterable], Iterable] = iter,
    on_step: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """From noise to a sample.

    Args:
        scheduler: a diffusers scheduler with x0-prediction.
        predict: (sample (M, ...), timesteps (M,)) -> clean sample (M, ...).
        noise: (M, ...) standard normal.
        num_steps: denoising steps.
        progress: wraps the time steps, e.g. in a progress bar.
        on_step: (index, timestep, sample) -> sample, called after every step; may change the sample.

    Returns:
        (M, ...) the denoised sample, in the dtype of `noise`.
    """
    scheduler.set_timesteps(num_steps, device=noise.device)
    sample = noise * scheduler.init_noise_sigma
    for index, timestep in enumerate(progress(scheduler.timesteps)):
        times = timestep.expand(sample.shape[0])
        clean = predict(scheduler.scale_model_input(sample, timestep), times)
        sample = scheduler.step(clean, timestep, sample, return_dict=False)[0].to(noise.dtype)
        if on_step is not None:
            sample = on_step(index, timestep, sample)
    return sample


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance (Ho and Salimans 2022): unconditional + scale · (conditional - unconditional)."""
    return unconditional + scale * (conditional - unconditional)
