"""Moving tensors to the device that computes without waiting for it.

A plain `.to(device)` of something on the CPU waits until a GPU has done all that was asked of it before. From pinned
memory, not blocking, it is only put in the line.
"""

import dataclasses
from typing import Any

import torch


def to_device(value: Any, device: torch.device | str) -> Any:
    """A tensor, or a dictionary, list, tuple or dataclass of such, on a device; anything else as it is.

    What comes back to the CPU is waited for, as always.
    """
    device = torch.device(device)
    if isinstance(value, torch.Tensor):
        from_cpu = value.device.type == "cpu" and device.type != "cpu"
        if from_cpu and device.type == "cuda":
            value = value.pin_memory()
        return value.to(device, non_blocking=from_cpu)
    if isinstance(value, dict):
        return {key: to_device(entry, device) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(entry, device) for entry in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **to_device(fields, device))
    return value
