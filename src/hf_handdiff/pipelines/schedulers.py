"""Schedulers: the default one, and whether another one samples rightly from the networks of both stages."""

import json
from collections.abc import Callable
from functools import lru_cache

import torch
from diffusers import DDIMScheduler, SchedulerMixin

from hf_handdiff.errors import InputError, first_line
from hf_handdiff.pipelines.sampling import denoise

NUM_TRAIN_TIMESTEPS = 1000
PROBE_STEPS, PROBE_ROWS, PROBE_SIZE = 20, 16, 256
PROBE_SPREAD = (0.6, 1.3)
"""Range of the spread of a probed scheduler's samples over the true one; 20 steps of DDIM reach 0.92."""


# ------------------------------------------------------------------------------------------------ schedulers


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
    """Refuse a scheduler that does not sample from networks that predict the clean sample on the cosine schedule.

    A scheduler that is not the default one is tried on Gaussian distributions, whose best estimate of the clean sample
    is known: its samples must have their spread. Any diffusers scheduler that passes may be used.

    Raises:
        InputError: with the scheduler's class, and what was found and expected.
    """
    if not isinstance(scheduler, SchedulerMixin) or not hasattr(scheduler, "set_timesteps"):
        raise InputError(f"{name}: expected a diffusers scheduler, got {type(scheduler).__name__}")
    reason = _reason_to_refuse(type(scheduler), json.dumps(dict(scheduler.config), sort_keys=True, default=str))
    if reason is not None:
        raise InputError(
            f"{name}: expected a scheduler for networks that predict the clean sample (prediction_type='sample', "
            f"clip_sample=False, the cosine schedule), such as DDIMScheduler.from_config(pipe.{name}.config), but "
            f"{type(scheduler).__name__} {reason}"
        )


@lru_cache(maxsize=64)
def _reason_to_refuse(scheduler_class: type, config: str) -> str | None:
    """Why a scheduler cannot be used; None where it can."""
    values = json.loads(config)
    default = default_scheduler()
    is_default = all(values.get(key) == value for key, value in default.config.items() if not key.startswith("_"))
    if is_default and scheduler_class is DDIMScheduler:
        return None
    clean = torch.linspace(-2, 2, PROBE_SIZE).expand(PROBE_ROWS, -1)
    try:
        scheduler = scheduler_class.from_config(values)
        offset = (_probe(scheduler, lambda noisy, times: clean) - clean).abs().max().item()
        spreads = []
        for std in (0.5, 2.0):  # of the data; they tell a wrong noise level from a wrong parametrisation
            estimate = _gaussian_estimate(default.alphas_cumprod, std)
            spreads.append(_probe(scheduler, estimate).std().item() / std)
    except Exception as error:  # schedulers raise all kinds of errors where a configuration is not theirs
        return f"cannot do it ({first_line(error)})"
    if not offset < 0.1:
        return f"ends {offset:.2g} from a known clean sample between -2 and 2"
    if not all(PROBE_SPREAD[0] <= spread <= PROBE_SPREAD[1] for spread in spreads):
        worst = max(spreads, key=lambda spread: abs(spread - 1))
        return f"draws samples with {worst:.2g} times the spread of a known distribution"
    return None


def _probe(scheduler, predict) -> torch.Tensor:
    """(rows, size) samples of a scheduler with a given estimator of the clean sample."""
    generators = [torch.Generator().manual_seed(row) for row in range(PROBE_ROWS)]
    noise = torch.cat([torch.randn(1, PROBE_SIZE, generator=generator) for generator in generators])
    return denoise(scheduler, predict, noise, PROBE_STEPS, generators)


def _gaussian_estimate(alphas_cumprod: torch.Tensor, std: float) -> Callable:
    """E[x0 | x_t] for x0 ~ N(0, std²) and x_t = sqrt(a) x0 + sqrt(1 - a) noise; times may lie between two steps."""

    def estimate(noisy: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        time = times[0].double().clamp(0, len(alphas_cumprod) - 1)
        low, high = alphas_cumprod[time.floor().long()], alphas_cumprod[time.ceil().long()]
        alpha = torch.lerp(low, high, (time - time.floor()).float())
        return alpha.sqrt() * std**2 / (alpha * std**2 + 1 - alpha) * noisy

    return estimate
