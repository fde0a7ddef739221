"""Counts what would make a CPU wait for a GPU, where there is none: networks on the meta device stand for it.

What lies on the meta device has no numbers, so a step runs there in no time, and whatever mixes devices fails.
"""

from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = "meta"
_LOOKS = ("_local_scalar_dense", "_linalg_check_errors", "nonzero", "masked_select", "is_nonzero", "equal")


class HostSyncs(TorchDispatchMode):
    """The operations that waited, by name: numbers looked at, and what went to the device or back and blocked."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        there = first is not None and first.device.type == DEVICE
        if there and name in _LOOKS:
            self.found.append(name)
            if name == "_local_scalar_dense":
                return 1 if not first.is_floating_point() else 1.0
        if name == "_to_copy" and "device" in kwargs:
            to = torch.device(kwargs["device"]).type
            if there and to == "cpu":
                self.found.append("to the CPU")
                return torch.zeros(first.shape, dtype=kwargs.get("dtype") or first.dtype)
            if not there and to == DEVICE and not kwargs.get("non_blocking"):
                self.found.append("blocking to the device")
        if name in ("index", "index_put", "index_put_") and there:
            places = [place for place in args[1] if place is not None]
            if any(place.device.type == "cpu" or place.dtype in (torch.bool, torch.uint8) for place in places):
                self.found.append(f"{name} by places from the CPU, or by a mask")
        return function(*args, **kwargs)


class _Numbers(TorchFunctionMode):
    """Numbers of Python that are sent to the device, which blocks, and which no operation tells of."""

    def __init__(self, found: list[str]):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        there = bool(args) and isinstance(args[0], torch.Tensor) and args[0].device.type == DEVICE
        named = kwargs.get("device")
        if name == "new_tensor" and there:
            self.found.append("new_tensor of numbers")
        if name in ("tensor", "as_tensor") and named is not None and torch.device(named).type == DEVICE:
            self.found.append(f"{name} of numbers")
        if name in ("__getitem__", "__setitem__") and there:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(place, (list, tuple)) for place in places):
                self.found.append(f"{name} with a list")
        return function(*args, **kwargs)


class _NoAutocast(nullcontext):
    def __init__(self, *args, **kwargs):
        super().__init__()


@contextmanager
def counted():
    """The list of what waits within the block; autocast does not know the meta device and is left out."""
    with mock.patch("torch.autocast", _NoAutocast), HostSyncs() as mode, _Numbers(mode.found):
        yield mode.found
