"""Initial noise that depends on the seed and the hypothesis alone.

Hypothesis k of an image must not change when more hypotheses are asked for, when the image is in another place of
a batch, or when the other images change. So every hypothesis draws from a generator of its own, seeded by
(base seed, stage, k); the images of one call share the base seed, or bring their own by a list of generators.
"""

import numpy as np
import torch


def base_seeds(generator, num_images: int) -> list[int]:
    """One base seed an image.

    Args:
        generator: None (a fresh random seed), an int, one `torch.Generator` (one draw from it, for all images), or
            a list with one int or generator an image.
        num_images: images of the call.

    Raises:
        ValueError: a list of another length, or something that is neither an int nor a generator.
    """
    if isinstance(generator, (list, tuple)):
        if len(generator) != num_images:
            raise ValueError(
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
            raise ValueError(f"generator: expected a seed of at least 0, got {generator}")
        return int(generator)
    raise ValueError(
        f"generator: expected a torch.Generator, an int, a list of them, or None, got {type(generator).__name__}"
    )


def hypothesis_noise(
    seeds: list[int], num_hypotheses: int, shape: tuple[int, ...], stage: int, device="cpu", dtype=torch.float32
) -> torch.Tensor:
    """Standard normal noise: (len(seeds), num_hypotheses, *shape). Always drawn on the CPU, in float32."""
    drawn: dict[int, torch.Tensor] = {}
    for seed in seeds:
        if seed not in drawn:
            rows = [
                torch.randn(shape, generator=_stream(seed, stage, hypothesis)) for hypothesis in range(num_hypotheses)
            ]
            drawn[seed] = torch.stack(rows)
    return torch.stack([drawn[seed] for seed in seeds]).to(device=device, dtype=dtype)


def _stream(seed: int, stage: int, hypothesis: int) -> torch.Generator:
    state = np.random.SeedSequence([seed, stage, hypothesis]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
