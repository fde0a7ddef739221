"""Where the networks run: on ZeroGPU's device where the package `spaces` is there, else on what torch finds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

try:
    import spaces  # before torch: on ZeroGPU it stands between torch and the device
except ImportError:
    spaces = None

from hf_handdiff.errors import InputError

GPU_SECONDS = 20
"""What a call may take on ZeroGPU; it counts against the visitor's quota."""


@dataclass(frozen=True)
class _Refusal:
    """An `InputError` on its way through the border of a process, where exceptions lose their message."""

    message: str


def on_gpu(function: Callable) -> Callable:
    """Run a function with a GPU on ZeroGPU; elsewhere it stays what it is.

    Arguments and the result must be picklable. An `InputError` arrives as one.
    """

    @functools.wraps(function)
    def carry(*args):
        try:
            return function(*args)
        except InputError as error:
            return _Refusal(str(error))

    carried = carry if spaces is None else spaces.GPU(duration=GPU_SECONDS)(carry)

    @functools.wraps(function)
    def call(*args):
        result = carried(*args)
        if isinstance(result, _Refusal):
            raise InputError(result.message)
        return result

    return call
