"""Hand pose metrics as pure, batched torch functions.

Units: metres in, metres out, unless a name says otherwise. Every function takes any number of leading batch
dimensions `...`, which broadcast (a truth of shape (B, 1, P, 3) stands against hypotheses (B, N, P, 3)).
P is the number of points: 21 joints or V vertices.

Points that are not finite: a hand with a NaN or an infinity in it, in the prediction or in the truth, gets
NaN as its error, and touches no other hand of the batch; nothing is dropped in silence. Points without ground
truth are named by `mask` (..., P), True where the point counts: others take no part in an alignment, their
own error is NaN, and per-hand means leave them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WRIST = 0
MIDDLE_MCP = 9
FREIHAND_AUC_MAX_M = 0.05
FREIHAND_AUC_STEPS = 100

# How many points an aligned comparison touches at once: bounds the temporaries to some tens of MB.
_POINTS_PER_CHUNK = 2_000_000


# -- helpers -----------------------------------------------------------------------------------------------


def at_least_float32(*tensors: Tensor) -> list[Tensor]:
    """The tensors in their common float type, which is float32 or float64."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor.is_floating_point():
            dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def _check_points(prediction: Tensor, truth: Tensor, mask: Tensor | None = None, dims: int = 3) -> None:
    for name, points in (("prediction", prediction), ("truth", truth)):
        if points.ndim < 2 or points.shape[-1] != dims:
            raise ValueError(f"{name} must have shape (..., P, {dims}), got {tuple(points.shape)}")
    if prediction.shape[-2] != truth.shape[-2]:
        raise ValueError(
            f"prediction has {prediction.shape[-2]} points and truth has {truth.shape[-2]}: they must match"
        )
    if mask is not None and mask.shape[-1] != truth.shape[-2]:
        raise ValueError(f"mask must have shape (..., {truth.shape[-2]}), got {tuple(mask.shape)}")


def _expand(prediction: Tensor, truth: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Broadcast the leading dimensions without copying; a missing mask counts every point."""
    if mask is None:
        mask = torch.ones(truth.shape[-2], dtype=torch.bool, device=truth.device)
    leading = torch.broadcast_shapes(prediction.shape[:-2], truth.shape[:-2], mask.shape[:-1])
    return (
        prediction.expand(*leading, *prediction.shape[-2:]),
        truth.expand(*leading, *truth.shape[-2:]),
        mask.bool().expand(*leading, mask.shape[-1]),
    )


def _in_chunks(function: Callable[..., Tensor], tensors: tuple[Tensor, ...], hands_per_chunk: int) -> Tensor:
    """Apply `function` to slices of the leading dimensions and put the results together again.

    tensors: (prediction (..., P, D), truth (..., Q, D), mask (..., Q)) with equal leading dimensions.
    """
    leading = tensors[0].shape[:-2]
    if math.prod(leading) <= max(hands_per_chunk, 1):
        return function(*tensors)
    if leading[0] == 1:
        return _in_chunks(function, tuple(t.squeeze(0) for t in tensors), hands_per_chunk).unsqueeze(0)
    middle = leading[0] // 2
    first = _in_chunks(function, tuple(t[:middle] for t in tensors), hands_per_chunk)
    second = _in_chunks(function, tuple(t[middle:] for t in tensors), hands_per_chunk)
    return torch.cat([first, second])


def masked_mean(values: Tensor, mask: Tensor | None = None, dim: int = -1) -> Tensor:
    """Mean over `dim` of the entries that `mask` counts; NaN where it counts none.

    Args:
        values: (...), any unit; NaN inside the mask stays visible as a NaN mean.
        mask: bool, broadcast to `values`; None counts everything.
    """
    if mask is None:
        return values.mean(dim=dim)
    mask = mask.bool().expand_as(values)
    return torch.where(mask, values, torch.zeros_like(values)).sum(dim=dim) / mask.sum(dim=dim)


# -- accuracy ----------------------------------------------------------------------------------------------


def point_distance(prediction: Tensor, truth: Tensor) -> Tensor:
    """Euclidean distance of each point to its truth: (..., P, D), (..., P, D) -> (..., P)."""
    prediction, truth = at_least_float32(prediction, truth)
    return (prediction - truth).norm(dim=-1)


def root_relative_error(prediction: Tensor, truth: Tensor, root: int = WRIST) -> Tensor:
    """Distance per joint after the root joints are laid upon each other: (..., P, 3) m -> (..., P) m."""
    _check_points(prediction, truth)
    return point_distance(prediction - prediction[..., root : root + 1, :], truth - truth[..., root : root + 1, :])


def mpjpe(prediction: Tensor, truth: Tensor, root: int = WRIST, mask: Tensor | None = None) -> Tensor:
    """Mean per-joint position error, root-relative: (..., P, 3) m -> (...) m."""
    return masked_mean(root_relative_error(prediction, truth, root), mask)


def scale_translation_aligned_error(
    prediction: Tensor, truth: Tensor, root: int = WRIST, scale_joint: int = MIDDLE_MCP
) -> Tensor:
    """HO3D's scale-and-translation aligned error, per joint.

    The prediction is scaled until its bone root - scale_joint (wrist - middle MCP) is as long as the true
    one, then moved root onto root. After `align_sc_tr` of HO3D's official evaluation
    (github.com/shreyashampali/ho3d). A prediction whose bone has no length is not scaled.

    Args:
        prediction, truth: (..., 21, 3) m in our joint order.

    Returns:
        (..., 21) m.
    """
    _check_points(prediction, truth)
    prediction, truth = at_least_float32(prediction, truth)
    prediction = prediction - prediction[..., root : root + 1, :]
    truth = truth - truth[..., root : root + 1, :]
    predicted_length = prediction[..., scale_joint, :].norm(dim=-1)[..., None, None]
    true_length = truth[..., scale_joint, :].norm(dim=-1)[..., None, None]
    scale = torch.where(predicted_length > 0, true_length / predicted_length.clamp_min(1e-12), 1.0)
    return point_distance(prediction * scale, truth)


def procrustes_align(
    prediction: Tensor, truth: Tensor, *, allow_reflections: bool = True, mask: Tensor | None = None
) -> Tensor:
    """Move, scale and turn each prediction so that it comes nearest to its truth (least squares).

    The similarity transform of Schönemann (1966) / Umeyama (1991). The official FreiHAND and HO3D scripts
    use `scipy.linalg.orthogonal_procrustes`, which also allows reflections: that is the default here, and the
    official number; `allow_reflections=False` turns only.

    Degenerate input is safe: a prediction that is one single point lands on the centroid of the truth, as in
    the official scripts; points on a line or in a plane give one of the equally good answers. Hands that are
    not finite come back as NaN.

    Args:
        prediction: (..., P, 3) m.
        truth: (..., P, 3) m.
        mask: (..., P) bool, the points that decide the alignment (all points are then moved); None for all.

    Returns:
        (..., P, 3) m, the aligned prediction.
    """
    _check_points(prediction, truth, mask)
    prediction, truth = at_least_float32(prediction, truth)
    prediction, truth, mask = _expand(prediction, truth, mask)
    counted = mask.unsqueeze(-1)  # (..., P, 1)
    finite = (torch.isfinite(prediction) & torch.isfinite(truth) | ~counted).flatten(-2).all(dim=-1)
    usable = counted & finite[..., None, None]
    source = torch.where(usable, prediction, 0.0)
    target = torch.where(usable, truth, 0.0)

    count = usable.sum(dim=-2, keepdim=True).clamp_min(1)
    source_center = source.sum(dim=-2, keepdim=True) / count
    target_center = target.sum(dim=-2, keepdim=True) / count
    source = torch.where(usable, source - source_center, 0.0)
    target = torch.where(usable, target - target_center, 0.0)

    left, singular, right = torch.linalg.svd(source.transpose(-1, -2) @ target)
    signs = torch.ones_like(singular)
    if not allow_reflections:
        signs[..., 2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    rotation = (left * signs.unsqueeze(-2)) @ right  # acts on row vectors: source @ rotation
    size = source.square().sum(dim=(-1, -2))
    smallest = torch.finfo(size.dtype).tiny
    scale = torch.where(size > smallest, (singular * signs).sum(dim=-1) / size.clamp_min(smallest), 0.0)

    aligned = scale[..., None, None] * ((prediction - source_center) @ rotation) + target_center
    return torch.where(finite[..., None, None], aligned, math.nan)


def align_mesh_by_joints(
    vertices: Tensor, joints: Tensor, true_joints: Tensor, *, allow_reflections: bool = True
) -> Tensor:
    """Move, scale and turn meshes by what brings their joints nearest to the true ones (see `procrustes_align`).

    For meshes whose vertices are not those of the truth.

    Args:
        vertices: (..., V, 3) m.
        joints: (..., 21, 3) m, of the same hands, in the same frame.
        true_joints: (..., 21, 3) m.

    Returns:
        (..., V, 3) m.
    """
    _check_points(joints, true_joints)
    vertices, joints, true_joints = at_least_float32(vertices, joints, true_joints)
    count, carried = joints.shape[-2], vertices.shape[-2]
    deciding = torch.arange(count + carried, device=vertices.device) < count
    no_truth = true_joints.new_zeros(*true_joints.shape[:-2], carried, 3)
    aligned = procrustes_align(
        torch.cat([joints, vertices], dim=-2),
        torch.cat([true_joints, no_truth], dim=-2),
        allow_reflections=allow_reflections,
        mask=deciding,
    )
    return aligned[..., count:, :]


def pa_error(
    prediction: Tensor,
    truth: Tensor,
    *,
    allow_reflections: bool = True,
    mask: Tensor | None = None,
    per_point: bool = False,
) -> Tensor:
    """Procrustes-aligned error: PA-MPJPE on joints, PA-MPVPE on vertices (each by its own alignment).

    Defined as in FreiHAND's official evaluation (github.com/lmb-freiburg/freihand): see `procrustes_align`.
    Works in slices, so that memory stays bounded for (B, N, 778, 3) meshes.

    Args:
        prediction: (..., P, 3) m.
        truth: (..., P, 3) m; leading dimensions broadcast.
        allow_reflections: True is the official definition.
        mask: (..., P) bool, points that have a ground truth.
        per_point: True returns every point's error instead of the mean over points.

    Returns:
        (...) m, or (..., P) m with `per_point` (NaN outside the mask).
    """
    _check_points(prediction, truth, mask)
    prediction, truth = at_least_float32(prediction, truth)

    def errors(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        aligned = procrustes_align(prediction, truth, allow_reflections=allow_reflections, mask=mask)
        distances = (aligned - truth).norm(dim=-1)
        return torch.where(mask, distances, math.nan) if per_point else masked_mean(distances, mask)

    return _in_chunks(errors, _expand(prediction, truth, mask), _POINTS_PER_CHUNK // truth.shape[-2])


def f_score(prediction: Tensor, truth: Tensor, threshold: float | Sequence[float]) -> Tensor:
    """F-score of two point clouds: harmonic mean of precision and recall at a distance.

    Precision: share of predicted points nearer than `threshold` to any true point; recall the other way
    round; strict `<`. After Knapitsch et al., "Tanks and Temples" (2017), as FreiHAND's official evaluation
    uses it at 5 and 15 mm. The two clouds may differ in size. Not aligned here: give aligned points where
    wanted.

    Args:
        prediction: (..., P, 3) m.
        truth: (..., Q, 3) m.
        threshold: m, or T of them.

    Returns:
        (...) in 0..1, or (..., T) for several thresholds; NaN for a hand that is not finite.
    """
    prediction, truth = at_least_float32(prediction, truth)
    thresholds = torch.atleast_1d(torch.as_tensor(threshold, dtype=truth.dtype, device=truth.device))

    def score(prediction: Tensor, truth: Tensor, _: Tensor) -> Tensor:
        distances = torch.cdist(prediction, truth, compute_mode="donot_use_mm_for_euclid_dist")
        to_truth, to_prediction = distances.amin(dim=-1, keepdim=True), distances.amin(dim=-2).unsqueeze(-1)
        precision = (to_truth < thresholds).to(distances.dtype).mean(dim=-2)  # (..., T)
        recall = (to_prediction < thresholds).to(distances.dtype).mean(dim=-2)
        total = precision + recall
        result = torch.where(total > 0, 2 * precision * recall / total.clamp_min(1e-12), 0.0)
        finite = torch.isfinite(to_truth).all(dim=-2) & torch.isfinite(to_prediction).all(dim=-2)
        return torch.where(finite, result, math.nan)

    pairs = prediction.shape[-2] * truth.shape[-2]
    scores = _in_chunks(score, _expand(prediction, truth, None), 10 * _POINTS_PER_CHUNK // pairs)
    return scores.squeeze(-1) if isinstance(threshold, (int, float)) else scores


def pck(errors: Tensor, thresholds: Tensor | float) -> Tensor:
    """Share of correct keypoints: errors (S, P) m, thresholds (T,) m -> (T, P) in 0..1, with `<=`.

    NaN errors are points without ground truth and are left out; a joint with none at all has a NaN curve.
    """
    thresholds = torch.atleast_1d(torch.as_tensor(thresholds, dtype=errors.dtype, device=errors.device))
    known = torch.isfinite(errors)
    correct = (errors.unsqueeze(0) <= thresholds[:, None, None]) & known
    return correct.sum(dim=1).to(errors.dtype) / known.sum(dim=0)


def auc(errors: Tensor, max_error: float = FREIHAND_AUC_MAX_M, num_steps: int = FREIHAND_AUC_STEPS) -> Tensor:
    """Area under the PCK curve over 0..max_error, by trapezoids, divided by max_error; mean over the joints.

    FreiHAND's official AUC: `linspace(0, 0.05, 100)`. errors (S, P) m -> scalar in 0..1.
    """
    thresholds = torch.linspace(0, max_error, num_steps, dtype=errors.dtype, device=errors.device)
    return (torch.trapezoid(pck(errors, thresholds), thresholds, dim=0) / max_error).nanmean()


def keypoint_error_2d(
    prediction: Tensor, truth: Tensor, *, mask: Tensor | None = None, per_point: bool = False
) -> Tensor:
    """2D keypoint error as a share of the hand's box.

    The box is the tight one around all true keypoints, hidden or not; its measure is the longer side.

    Args:
        prediction, truth: (..., 21, 2) px.
        mask: (..., 21) bool, the keypoints that count in the mean (not in the box).

    Returns:
        (...), or (..., 21) with `per_point`: 0.04 is 4 % of the box. NaN where the box has no size.
    """
    _check_points(prediction, truth, mask, dims=2)
    prediction, truth = at_least_float32(prediction, truth)
    side = (truth.amax(dim=-2) - truth.amin(dim=-2)).amax(dim=-1, keepdim=True)
    side = torch.where(side > 0, side, math.nan)
    errors = point_distance(prediction, truth) / side
    if not per_point:
        return masked_mean(errors, mask)
    return errors if mask is None else torch.where(mask.bool(), errors, math.nan)
