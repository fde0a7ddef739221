"""The metric size of hands, which one photo cannot tell: set by a length that the caller knows.

A hand that is twice as large and twice as far away looks the same. So whatever is in metres, places included, is
multiplied by one factor a hand, after sampling and fitting; the projection does not change.
"""

from dataclasses import dataclass

import numpy as np
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.topology import FINGERS, NUM_ROTATIONS
from hf_handdiff.pipelines.defaults import HAND_LENGTH_RANGE_M, WRIST_DEPTH_RANGE_M
from hf_handdiff.pipelines.inputs import HandRequest, HandsToSample
from hf_handdiff.pipelines.outputs import HandPipelineOutput

MIDDLE_FINGER = (0, *FINGERS["middle"])
"""The wrist and the middle finger's joints."""
LENGTHS = (
    "joints",
    "vertices",
    "joint_hypotheses",
    "mean_joints",
    "mean_vertices",
    "joint_std",
    "translation",
    "mean_translation",
    "hand_scale",
)
"""Fields of an output that grow with the hand."""


@dataclass(frozen=True)
class MetricSize:
    """What the caller knows about the size of B hands; at most one of the two is given.

    Attributes:
        hand_length: (B,) m, or None.
        wrist_depth: (B,) m, or None.
    """

    hand_length: torch.Tensor | None = None
    wrist_depth: torch.Tensor | None = None


def check_metric_size(hand_length_m, wrist_depth_m, hands: HandsToSample, request: HandRequest) -> MetricSize:
    """Check the two arguments that set the size of hands.

    Args:
        hand_length_m: a number or one an image, see `CascadedHandPipeline`; None: not known.
        wrist_depth_m: likewise.
        hands: where the hands are detected, several of them may belong to one image.
        request: of the call.

    Raises:
        InputError: both are given, one is no length of a hand or no distance, or there is nothing in 2D that a
            distance could belong to.
    """
    if hand_length_m is not None and wrist_depth_m is not None:
        raise InputError("hand_length_m, wrist_depth_m: expected one of them, each sets the size by itself; got both")
    if wrist_depth_m is not None and request.crops is None:
        raise InputError("wrist_depth_m: expected only together with images or keypoints_2d, got joints alone")
    indices, count = request.image_indices, len(request.handedness)
    if indices is not None:
        count = hands.num_images
    length = _numbers(hand_length_m, "hand_length_m", HAND_LENGTH_RANGE_M, count)
    depth = _numbers(wrist_depth_m, "wrist_depth_m", WRIST_DEPTH_RANGE_M, count)
    if indices is not None:
        length, depth = (None if values is None else values[indices] for values in (length, depth))
    return MetricSize(length, depth)


def _numbers(value, name: str, allowed: tuple[float, float], count: int) -> torch.Tensor | None:
    """(count,) float32 of a number or of one an image."""
    if value is None:
        return None
    low, high = allowed
    expected = f"{name}: expected metres from {low:g} to {high:g}, a number or one for each of {count} images"
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        if array.dtype.kind not in "iuf":
            raise TypeError
    except (TypeError, ValueError):
        raise InputError(f"{expected}, got something that is not numbers") from None
    if array.shape not in ((), (count,)):
        raise InputError(f"{expected}, got shape {array.shape}")
    wrong = ~((array >= low) & (array <= high))
    if wrong.any():
        raise InputError(f"{expected}, got {array[wrong].flat[0]:g}")
    return torch.from_numpy(np.array(np.broadcast_to(array, (count,)), dtype=np.float32))


def hand_lengths(output: HandPipelineOutput, layer: HandLayer | None) -> torch.Tensor:
    """How long hands are, (B,) m, from the wrist joint to the tip of the middle finger.

    With parameters it is the straight distance in the flat hand of their shape and scale. Without, it is the length of
    the way from joint to joint of the answer, which in a flat hand is some thousandths longer than that distance.

    Args:
        output: tensors.
        layer: the hand that the parameters belong to; not looked at without parameters.
    """
    if output.hand_pose is None:
        bones = output.mean_joints[:, MIDDLE_FINGER].diff(dim=1)
        return bones.norm(dim=-1).sum(-1)
    return flat_lengths(layer, output.betas, output.hand_scale)


def flat_lengths(layer: HandLayer, betas: torch.Tensor, hand_scale: torch.Tensor) -> torch.Tensor:
    """Straight distances (B,) m from wrist joint to tip of the middle finger in flat hands.

    Args:
        layer: the hand.
        betas: (B, 10).
        hand_scale: (B,).
    """
    flat = layer.pose_joints(torch.zeros(len(betas), NUM_ROTATIONS, 3), betas)
    return (flat[:, MIDDLE_FINGER[-1]] - flat[:, 0]).norm(dim=-1) * hand_scale


def set_metric_size(
    output: HandPipelineOutput, size: MetricSize, layer: HandLayer | None, depth: torch.Tensor | None
) -> HandPipelineOutput:
    """The output with hands of the size that is known, and `metric_scale`: by what all lengths were multiplied.

    Args:
        output: tensors.
        size: what is known.
        layer: see `hand_lengths`.
        depth: (B,) m, z of the answer's wrist as it was estimated; None without 2D.

    Raises:
        InputError: at the distance that was given a hand would be longer or shorter than any.
    """
    if size.hand_length is None and size.wrist_depth is None:
        return HandPipelineOutput(**{**output, "metric_scale": torch.ones(len(output.mean_joints))})
    if size.hand_length is not None:
        factor = size.hand_length / hand_lengths(output, layer)
    else:
        factor = size.wrist_depth / depth
        _check_lengths(hand_lengths(output, layer) * factor, size.wrist_depth)

    def scaled(values):
        return values * factor.view(-1, *[1] * (values.dim() - 1))

    changed = {name: scaled(output[name]) for name in LENGTHS if name in output}
    if output.hypothesis_parameters is not None:
        sizes = scaled(output.hypothesis_parameters["hand_scale"])
        changed["hypothesis_parameters"] = {**output.hypothesis_parameters, "hand_scale": sizes}
    return HandPipelineOutput(**{**output, **changed, "metric_scale": factor})


def _check_lengths(lengths: torch.Tensor, depths: torch.Tensor) -> None:
    """Refuse distances in other units, or of another camera."""
    low, high = HAND_LENGTH_RANGE_M
    wrong = ~((lengths >= low) & (lengths <= high))
    if wrong.any():
        index = int(wrong.nonzero()[0, 0])
        raise InputError(
            f"wrist_depth_m: expected the wrist's distance along the camera's axis in metres, and that camera's "
            f"intrinsics; at {depths[index]:g} m hand {index} would be {lengths[index]:.3g} m long, which no hand is"
        )
