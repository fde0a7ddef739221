"""How much boxes overlap. Boxes are (..., 4) x0, y0, x1, y1, in any unit; leading axes broadcast."""

import numpy as np
import torch

Boxes = torch.Tensor | np.ndarray
_SMALLEST_AREA = 1e-12  # keeps boxes without area from dividing zero by zero


def box_area(boxes: Boxes) -> torch.Tensor:
    """(..., 4) -> (...), 0 where a corner lies on the wrong side of the other."""
    boxes = torch.as_tensor(boxes)
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def intersection_over_union(a: Boxes, b: Boxes) -> torch.Tensor:
    """(..., 4) and (..., 4) -> (...), 0..1: the shared area over that of both together."""
    shared = _shared_area(a, b)
    return shared / (box_area(a) + box_area(b) - shared).clamp_min(_SMALLEST_AREA)


def intersection_over_smaller(a: Boxes, b: Boxes) -> torch.Tensor:
    """(..., 4) and (..., 4) -> (...), 0..1: the shared area over that of the smaller box."""
    return _shared_area(a, b) / torch.minimum(box_area(a), box_area(b)).clamp_min(_SMALLEST_AREA)


def _shared_area(a: Boxes, b: Boxes) -> torch.Tensor:
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    return (high - low).clamp_min(0).prod(-1)
