"""Untrained networks for tests."""

import torch


@torch.no_grad()
def randomize_zero_layers(model: torch.nn.Module, size: float = 0.05) -> torch.nn.Module:
    """Move every parameter a little: ends that training starts at zero then answer to their inputs."""
    for parameter in model.parameters():
        parameter.add_(size * torch.randn_like(parameter))
    return model.eval()
