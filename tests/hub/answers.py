"""What the clients ask of a pipeline, so that answers can be compared to the bit."""

import numpy as np
import torch


def answer(pipeline, photo) -> dict[str, np.ndarray]:
    pipeline.set_progress_bar_config(disable=True)
    out = pipeline(photo, num_hypotheses=2, generator=3)
    return {name: np.asarray(value) for name, value in out.items() if isinstance(value, np.ndarray)}


@torch.no_grad()
def denoised(model) -> dict[str, np.ndarray]:
    """One estimate of a joint denoiser."""
    generator = torch.Generator().manual_seed(1)
    joints, points = torch.randn(2, 21, 3, generator=generator), torch.randn(2, 21, 2, generator=generator)
    estimate = model.eval()(joints, torch.tensor([10, 900]), points, torch.ones(2, 21), torch.ones(2))
    return {"estimate": estimate.numpy()}


def rows(dataset) -> dict[str, np.ndarray]:
    """The numbers and the pixels of all rows."""
    found = list(dataset)
    return {
        "joints_m": np.stack([np.asarray(row["joints_m"], np.float32) for row in found]),
        "pixels": np.stack([np.asarray(row["image"]) for row in found]),
        "sample_id": np.array([row["sample_id"] for row in found]),
    }


def report(error: BaseException) -> dict:
    """An error as JSON."""
    return {"type": type(error).__name__, "kinds": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
