"""Depthwise convolutions whose backward pass is quick on a CPU in bfloat16.

oneDNN has no quick bfloat16 kernel for two gradients that MobileNet-like networks need: the weight's for 5x5
kernels and the input's for stride 2 (ten to thirty times slower than the others).  Both can be had from
kernels that are quick: a 5x5 kernel's gradient from four overlapping 3x3 ones, and the input's gradient from
a forward convolution of the output's gradient, spread out with zeros, with the flipped kernel.  On two cores
this trains the image encoder about twice as fast.
"""

from __future__ import annotations

import types

import torch
import torch.nn.functional as F
from torch import nn

from hf_handdiff.models.hand_landmark_backbone import SameConv2d


class _DepthwiseConv2d(torch.autograd.Function):
    """Depthwise convolution of x (B, C, H, W), padded `near` px before and `far` after, on both axes."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, near, far):
        ctx.stride, ctx.near, ctx.shape = stride, near, x.shape
        ctx.padding = near if near == far else 0
        if near != far:
            x = F.pad(x, (near, far, near, far))
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, stride, ctx.padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x = _input_gradient(grad, weight, ctx.shape, ctx.stride, ctx.near) if ctx.needs_input_grad[0] else None
        grad_weight = _weight_gradient(grad, x, weight, ctx.stride, ctx.padding)
        return grad_x, grad_weight, grad.sum(dim=(0, 2, 3)), None, None, None


def _input_gradient(grad, weight, shape, stride, near):
    """dx[m] = sum_t w[t] g[m + near - t], g spread out by the stride: a convolution, the kernel flipped."""
    kernel, channels = weight.shape[-1], weight.shape[0]
    flipped = weight.flip(2, 3)
    if stride == 1:
        return F.conv2d(grad, flipped, padding=kernel - 1 - near, groups=channels)
    count, _, height, width = shape
    extent = (count, channels, height + kernel - 1, width + kernel - 1)
    spread = torch.empty(extent, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last).zero_()
    first = kernel - 1 - near
    rows = slice(first, first + stride * grad.shape[2], stride)
    columns = slice(first, first + stride * grad.shape[3], stride)
    spread[:, :, rows, columns] = grad
    return F.conv2d(spread, flipped, groups=channels)


def _weight_gradient(grad, x, weight, stride, padding):
    """Gradient of the weight (C, 1, k, k); that of a 5x5 kernel 3x3 taps at a time, from the padded input."""
    kernel = weight.shape[-1]
    if kernel == 3:
        return _quick_weight_gradient(grad, x, weight, stride, padding)
    padded = F.pad(x, (padding,) * 4) if padding else x
    result = torch.empty_like(weight)
    extent = [stride * (size - 1) + 3 for size in grad.shape[2:]]
    taps = weight[:, :, :3, :3].contiguous()
    for row in range(0, kernel - 2, 2):
        for column in range(0, kernel - 2, 2):
            window = padded[:, :, row : row + extent[0], column : column + extent[1]]
            window = window.contiguous(memory_format=torch.channels_last)
            result[:, :, row : row + 3, column : column + 3] = _quick_weight_gradient(grad, window, taps, stride, 0)
    return result


def _quick_weight_gradient(grad, x, weight, stride, padding):
    """oneDNN's, for 3x3 kernels."""
    wanted = [False, True, False]
    shape = [[stride] * 2, [padding] * 2, [1, 1], False, [0, 0], weight.shape[0]]
    return torch.ops.aten.convolution_backward(grad, x, weight, None, *shape, wanted)[1]


def _forward(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    kernel, stride = self.kernel_size[0], self.stride[0]
    total = kernel - 1 if stride == 1 else kernel - stride
    weight, bias = self.weight, self.bias
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    return _DepthwiseConv2d.apply(x, weight, bias, stride, total // 2, total - total // 2)


def use_quick_backward(model: nn.Module) -> int:
    """Lets every depthwise `SameConv2d` of the model (kernel 3 or 5) use the quick backward pass; returns how
    many.

    The forward pass, the parameters and their names stay what they are.
    """
    chosen = [
        module
        for module in model.modules()
        if isinstance(module, SameConv2d)
        and module.groups == module.in_channels > 1
        and module.kernel_size[0] in (3, 5)
    ]
    for module in chosen:
        module.forward = types.MethodType(_forward, module)
    return len(chosen)
