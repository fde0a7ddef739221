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

from hf_handdiff.pipelines.aggregation import aggregate, spread

__all__ = [
    "VISIBLE_GROUPS",
    "aggregate",
    "align_mesh_by_joints",
    "auc",
    "ause",
    "best_of_n",
    "coverage",
    "energy_score",
    "f_score",
    "keypoint_error_2d",
    "masked_mean",
    "mpjpe",
    "pa_error",
    "pck",
    "pearson_correlation",
    "point_distance",
    "procrustes_align",
    "quantile_ece",
    "root_relative_error",
    "scale_translation_aligned_error",
    "sparsification",
    "spearman_correlation",
    "skin_tone_groups",
    "spread",
    "truth_ranks",
    "visible_groups",
]

WRIST = 0
MIDDLE_MCP = 9
FREIHAND_AUC_MAX_M = 0.05
FREIHAND_AUC_STEPS = 100

# The groups of `visible_groups`: name -> (lowest share, highest share); the bounds belong to "partly hidden".
VISIBLE_GROUPS = {
    "visible (> 0.8)": (0.8, math.inf),
    "partly hidden (0.5-0.8)": (0.5, 0.8),
    "mostly hidden (< 0.5)": (-math.inf, 0.5),
}

# The groups of `skin_tone_groups`: name -> (lowest, highest tone), 0 lightest .. 1 darkest. Lower bounds belong to it.
SKIN_TONE_GROUPS = {
    "light (< 1/3)": (0.0, 1 / 3),
    "medium (1/3-2/3)": (1 / 3, 2 / 3),
    "dark (> 2/3)": (2 / 3, math.inf),
}

# How many points an aligned comparison touches at once: bounds the temporaries to some tens of MB.
_POINTS_PER_CHUNK = 2_000_000


# -- helpers -----------------------------------------------------------------------------------------------


def _at_least_float32(*tensors: Tensor) -> list[Tensor]:
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
    prediction, truth = _at_least_float32(prediction, truth)
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
    prediction, truth = _at_least_float32(prediction, truth)
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
    prediction, truth = _at_least_float32(prediction, truth)
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
    vertices, joints, true_joints = _at_least_float32(vertices, joints, true_joints)
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
    prediction, truth = _at_least_float32(prediction, truth)

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
    prediction, truth = _at_least_float32(prediction, truth)
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
    prediction, truth = _at_least_float32(prediction, truth)
    side = (truth.amax(dim=-2) - truth.amin(dim=-2)).amax(dim=-1, keepdim=True)
    side = torch.where(side > 0, side, math.nan)
    errors = point_distance(prediction, truth) / side
    if not per_point:
        return masked_mean(errors, mask)
    return errors if mask is None else torch.where(mask.bool(), errors, math.nan)


# -- several hypotheses ------------------------------------------------------------------------------------


def best_of_n(errors: Tensor, n: int) -> Tensor:
    """The smallest error among the first n hypotheses of each sample: (..., N) -> (...).

    An oracle's choice, made per sample (never per joint, never over the data set): print it only beside the
    prior control and the aggregated answer. The first n are what a run with `num_hypotheses=n` would give.
    """
    if not 1 <= n <= errors.shape[-1]:
        raise ValueError(f"n must be 1..{errors.shape[-1]}, the number of hypotheses; got {n}")
    return errors[..., :n].amin(dim=-1)


def truth_ranks(hypotheses: Tensor, truth: Tensor, center: str = "median") -> Tensor:
    """How many hypotheses lie nearer to the centre than the truth does, per point.

    Under a calibrated sampler each of the N + 1 ranks 0..N is equally likely.

    Args:
        hypotheses: (..., N, P, 3) m.
        truth: (..., P, 3) m.
        center: "median", the coordinate-wise median of the hypotheses, as published for `quantile_ece`; or
            "pooled", the mean of hypotheses and truth together: then truth and hypotheses are exchangeable,
            and the ranks of a calibrated sampler are uniform at any N, where the median of a few hypotheses
            lies nearer to these than to the truth.

    Returns:
        (..., P) in 0..N; ties count half. NaN for points that are not finite.
    """
    hypotheses, truth = _at_least_float32(hypotheses, truth)
    truth = truth.unsqueeze(-3)
    if center == "median":
        middle = hypotheses.quantile(0.5, dim=-3, keepdim=True)
    elif center == "pooled":
        num_hypotheses = hypotheses.shape[-3]
        middle = (hypotheses.sum(dim=-3, keepdim=True) + truth) / (num_hypotheses + 1)
    else:
        raise ValueError(f"center must be 'median' or 'pooled', got {center!r}")
    truth_distance = point_distance(truth, middle)  # (..., 1, P)
    distances = point_distance(hypotheses, middle)  # (..., N, P)
    nearer = (distances < truth_distance).to(distances.dtype) + 0.5 * (distances == truth_distance)
    ranks = nearer.sum(dim=-2)
    finite = torch.isfinite(truth_distance.squeeze(-2)) & torch.isfinite(distances).all(dim=-2)
    return torch.where(finite, ranks, math.nan)


def coverage(ranks: Tensor, num_hypotheses: int, levels: Tensor | list[float]) -> Tensor:
    """How often the truth lies inside the region that should hold it with probability `level`.

    The region of level q is the ball around the centre that holds the share q of the hypotheses. A rank r of
    `truth_ranks` stands for the interval [r, r + 1] / (N + 1) of quantiles, so that N hypotheses cause no
    rounding: a calibrated sampler has coverage(q) = q at every q.

    Args:
        ranks: (S, P) of `truth_ranks`; NaN is left out.
        num_hypotheses: N.
        levels: (L,) in 0..1.

    Returns:
        (L, P) in 0..1.
    """
    levels = torch.as_tensor(levels, dtype=ranks.dtype, device=ranks.device)
    inside = (levels[:, None, None] * (num_hypotheses + 1) - ranks.unsqueeze(0)).clamp(0, 1)  # (L, S, P)
    return inside.nanmean(dim=1)


def quantile_ece(ranks: Tensor, num_hypotheses: int, num_levels: int = 101) -> Tensor:
    """Expected calibration error of quantiles: mean over q of |coverage(q) - q|, per point.

    Pierzchlewicz et al., "Multi-hypothesis 3D human pose estimation metrics favor miscalibrated
    distributions" (arXiv 2210.11179). 0 is calibrated; 0.5 is the worst, truth always outside
    (over-confident) or always inside (under-confident). A single hypothesis has no quantiles: NaN.

    Args:
        ranks: (S, P) of `truth_ranks`.
        num_hypotheses: N.

    Returns:
        (P,) in 0..0.5.
    """
    if num_hypotheses < 2:
        return ranks.new_full(ranks.shape[1:], math.nan)
    levels = torch.linspace(0, 1, num_levels, dtype=ranks.dtype, device=ranks.device)
    return (coverage(ranks, num_hypotheses, levels) - levels.unsqueeze(-1)).abs().mean(dim=0)


def energy_score(hypotheses: Tensor, truth: Tensor, *, whole_hand: bool = False) -> Tensor:
    """Energy score: mean distance to the truth minus half the mean distance of two hypotheses.

    Lower is better. A strictly proper score (Gneiting and Raftery 2007), so no distribution but the true one
    can win on average. Pairs of different hypotheses only, which makes it unbiased at any N; of one
    hypothesis it is the error.

    Args:
        hypotheses: (..., N, P, 3) m.
        truth: (..., P, 3) m.
        whole_hand: True scores the hand as one vector of P * 3 numbers, divided by sqrt(P) to stay in metres
            of a point, so that how joints move together counts too.

    Returns:
        (..., P) m, or (...) m with `whole_hand`.
    """
    hypotheses, truth = _at_least_float32(hypotheses, truth)
    num_hypotheses, num_points = hypotheses.shape[-3], hypotheses.shape[-2]
    truth = truth.unsqueeze(-3)
    if whole_hand:  # (..., N, 1, P * 3) and (..., 1, 1, P * 3)
        hypotheses, truth = hypotheses.flatten(-2).unsqueeze(-2), truth.flatten(-2).unsqueeze(-2)
    error = point_distance(hypotheses, truth).mean(dim=-2)
    if num_hypotheses > 1:
        samples = hypotheses.transpose(-3, -2)  # (..., P, N, D)
        pairwise = torch.cdist(samples, samples, compute_mode="donot_use_mm_for_euclid_dist")
        error = error - 0.5 * pairwise.sum(dim=(-1, -2)) / (num_hypotheses * (num_hypotheses - 1))
    return error.squeeze(-1) / math.sqrt(num_points) if whole_hand else error


# -- does the uncertainty know the error? --------------------------------------------------------------------


def pearson_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Linear correlation over samples: (S, ...), (S, ...) -> (...) in -1..1.

    0 where one of the two never changes: such an uncertainty says nothing about the error.
    """
    x, y = _at_least_float32(x, y)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    scale = x.norm(dim=0) * y.norm(dim=0)
    smallest = torch.finfo(scale.dtype).tiny
    return torch.where(scale > smallest, (x * y).sum(dim=0) / scale.clamp_min(smallest), 0.0).clamp(-1, 1)


def _average_ranks(values: Tensor) -> Tensor:
    """Ranks along dimension 0, ties sharing their average rank: (S,) -> (S,)."""
    ordered, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(torch.float64)
    return (last - (counts - 1) / 2)[inverse]


def spearman_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation over samples, ties averaged: (S, ...), (S, ...) -> (...) in -1..1, float64."""
    if x.ndim == 1:
        return pearson_correlation(_average_ranks(x), _average_ranks(y))
    columns_x, columns_y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    per_column = [spearman_correlation(columns_x[:, i], columns_y[:, i]) for i in range(columns_x.shape[1])]
    return torch.stack(per_column).reshape(x.shape[1:])


def sparsification(uncertainty: Tensor, error: Tensor, num_steps: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    """Mean error of what is left when the least certain share is removed.

    Ilg et al., "Uncertainty estimates and multi-hypotheses networks for optical flow" (2018).

    Args:
        uncertainty, error: (S,), any unit.

    Returns:
        removed shares (num_steps,) from 0 to below 1, the curve when sorted by uncertainty, and the oracle's
        curve, sorted by the error itself; both curves (num_steps,), 1 at the start.
    """
    uncertainty, error = _at_least_float32(uncertainty.flatten(), error.flatten())
    if len(error) == 0:
        raise ValueError("sparsification needs at least one sample")
    removed = torch.arange(num_steps, dtype=error.dtype, device=error.device) / num_steps
    kept = (len(error) * (1 - removed)).ceil().long().clamp_min(1)

    def curve(order: Tensor) -> Tensor:
        running_mean = error[order].cumsum(0) / torch.arange(1, len(error) + 1, device=error.device)
        return running_mean[kept - 1] / error.mean().clamp_min(torch.finfo(error.dtype).tiny)

    return removed, curve(uncertainty.argsort(stable=True)), curve(error.argsort(stable=True))


def ause(uncertainty: Tensor, error: Tensor, num_steps: int = 50) -> Tensor:
    """Area under the sparsification error: the mean gap between both curves of `sparsification`, >= 0.

    0: the uncertainty sorts the samples as their errors do. An uncertainty that knows nothing scores about
    the area between 1 and the oracle's curve. (S,), (S,) -> scalar.
    """
    _, by_uncertainty, oracle = sparsification(uncertainty, error, num_steps)
    return (by_uncertainty - oracle).mean()


def visible_groups(visible_share: Tensor) -> dict[str, Tensor]:
    """Samples by how much of the hand is seen: (S,) in 0..1 -> {name: (S,) bool}. See `VISIBLE_GROUPS`."""
    partly = (visible_share >= 0.5) & (visible_share <= 0.8)
    names = list(VISIBLE_GROUPS)
    return {names[0]: visible_share > 0.8, names[1]: partly, names[2]: visible_share < 0.5}


def skin_tone_groups(skin_tone: Tensor) -> dict[str, Tensor]:
    """Samples by skin tone: (S,), 0 lightest .. 1 darkest -> {name: (S,) bool}. See `SKIN_TONE_GROUPS`.

    A tone that is not known (-1 or NaN) is in none of them.
    """
    return {name: (skin_tone >= low) & (skin_tone < high) for name, (low, high) in SKIN_TONE_GROUPS.items()}
