"""The table of metrics: what is measured of every sample, in which unit, and under which name it is reported.

To add a metric, add one entry here: it is computed for every batch and kept in the chunks of a run; with a `figure`
its mean stands in `results.json` (overall and for each group) and, with a `title`, in the report; with a `joint_figure`
it stands by joint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from hf_handdiff.evaluation import metrics, uncertainty
from hf_handdiff.evaluation.comparison import Comparison, as_tensor
from hf_handdiff.evaluation.official import F_SCORE_THRESHOLDS_M
from hf_handdiff.pipelines.aggregation import spread
from hf_handdiff.pipelines.defaults import MEANS

STAGES = ("stage1", "stage2")


class Unit(Enum):
    """The unit of a measure, and how its figures are told in the results: (name, factor)."""

    METRES = ("mm", 1000.0)
    SHARE_OF_BOX = ("percent of the hand's box", 100.0)
    PIXELS = ("px", 1.0)
    SHARE = ("0..1", 1.0)
    RANK = ("hypotheses", 1.0)
    DEVIATIONS = ("standard deviations", 1.0)

    @property
    def factor(self) -> float:
        """From the measure to the figure."""
        return self.value[1]


@dataclass(frozen=True, eq=False)
class Metric:
    """One measure of every sample.

    Attributes:
        name: of its array.
        unit: of its values.
        per: its dimensions after the samples, of "hypothesis" (N) and "joint" (21).
        measure: computes it, (B, ...); None where prediction or truth lack what it takes.
        figure: key of its mean in the results' "accuracy"; None: it has no entry of its own there.
        title: its row in the report's tables by group; None: no row.
        joint_figure: key of its mean in the results "by_joint"; None: not told by joint.
    """

    name: str
    unit: Unit
    per: tuple[str, ...]
    measure: Callable[[Comparison], Tensor | None]
    figure: str | None = None
    title: str | None = None
    joint_figure: str | None = None


METRICS: dict[str, Metric] = {}
"""Every metric by its name."""

_JOINT, _HYPOTHESIS = ("joint",), ("hypothesis",)


def _metric(*entry, **figures: str) -> Metric:
    metric = Metric(*entry, **figures)
    if metric.name in METRICS:
        raise ValueError(f"metrics: expected names of their own, got {metric.name!r} twice")
    METRICS[metric.name] = metric
    return metric


def _where(points: Tensor | None, measure: Callable[[Tensor], Tensor]) -> Tensor | None:
    return None if points is None else measure(points)


def _of_best_hand(errors: Tensor) -> Tensor:
    """Errors per joint (B, N, 21) -> (B, 21) of the hand that is best as a whole, the oracle's choice of best-of-N."""
    return errors[torch.arange(len(errors)), errors.mean(dim=-1).argmin(dim=1)]


# -- the answer's joints -----------------------------------------------------------------------------------

PA_JOINT_ERROR = _metric(
    "pa_joint_error",
    Unit.METRES,
    _JOINT,
    lambda c: metrics.pa_error(c.mean_joints, c.true_joints, per_point=True),
    figure="pa_mpjpe_mm",
    joint_figure="pa_error_mm",
)
PA_JOINT_ERROR_ROTATION = _metric(
    "pa_joint_error_rotation",
    Unit.METRES,
    _JOINT,
    lambda c: c.answer_errors_rotation,
    joint_figure="pa_error_rotation_only_mm",
)
PA_JOINTS_ROTATION = _metric(
    "pa_joints_rotation",
    Unit.METRES,
    (),
    lambda c: c.answer_errors_rotation.mean(dim=-1),
    figure="pa_mpjpe_rotation_only_mm",
    title="PA-MPJPE, rotation only",
)
JOINT_ERROR = _metric(
    "joint_error",
    Unit.METRES,
    _JOINT,
    lambda c: metrics.root_relative_error(c.mean_joints, c.true_joints),
    figure="mpjpe_root_relative_mm",
    title="MPJPE root-relative",
    joint_figure="root_relative_error_mm",
)
SCALE_TRANSLATION_ERROR = _metric(
    "scale_translation_error",
    Unit.METRES,
    _JOINT,
    lambda c: metrics.scale_translation_aligned_error(c.mean_joints, c.true_joints),
    figure="mpjpe_scale_translation_mm",
    title="MPJPE scale and translation",
    joint_figure="scale_translation_error_mm",
)
JOINT_STD = _metric(
    "joint_std",
    Unit.METRES,
    _JOINT,
    lambda c: as_tensor(c.prediction.joint_std),
    joint_figure="joint_std_mm",
)

# -- the answer's mesh -------------------------------------------------------------------------------------

PA_VERTICES = _metric(
    "pa_vertices",
    Unit.METRES,
    (),
    lambda c: _where(c.mean_vertices, lambda _: metrics.point_distance(c.aligned_vertices, c.true_vertices).mean(-1)),
    figure="pa_mpvpe_mm",
)
PA_VERTICES_ROTATION = _metric(
    "pa_vertices_rotation",
    Unit.METRES,
    (),
    lambda c: _where(c.mean_vertices, lambda mesh: metrics.pa_error(mesh, c.true_vertices, allow_reflections=False)),
    figure="pa_mpvpe_rotation_only_mm",
    title="PA-MPVPE, rotation only",
)
VERTEX_ERROR = _metric(
    "vertex_error",
    Unit.METRES,
    (),
    lambda c: _where(c.mean_vertices, lambda mesh: metrics.point_distance(mesh, c.true_vertices).mean(dim=-1)),
    figure="mpvpe_root_relative_mm",
    title="MPVPE root-relative",
)
F_SCORES = tuple(
    _metric(
        f"f_score_{1000 * threshold:.0f}mm",
        Unit.SHARE,
        (),
        lambda c, column=column: _where(c.f_scores, lambda scores: scores[:, column]),
        figure=f"f_score_{1000 * threshold:.0f}mm",
        title=f"F@{1000 * threshold:.0f}",
    )
    for column, threshold in enumerate(F_SCORE_THRESHOLDS_M)
)

# -- each hypothesis ---------------------------------------------------------------------------------------

HYPOTHESIS_PA_JOINTS = _metric(
    "hypothesis_pa_joints", Unit.METRES, _HYPOTHESIS, lambda c: c.hypothesis_errors.mean(dim=-1)
)
HYPOTHESIS_PA_VERTICES = _metric(
    "hypothesis_pa_vertices",
    Unit.METRES,
    _HYPOTHESIS,
    lambda c: _where(c.vertices, lambda meshes: metrics.pa_error(meshes, c.true_vertices.unsqueeze(1))),
)
HYPOTHESIS_JOINT_ERROR = _metric(
    "hypothesis_joint_error",
    Unit.METRES,
    _HYPOTHESIS,
    lambda c: metrics.mpjpe(c.joints, c.true_joints.unsqueeze(1)),
)
SINGLE_PA_JOINT_ERROR = _metric(
    "single_pa_joint_error",
    Unit.METRES,
    _JOINT,
    lambda c: c.hypothesis_errors.mean(dim=1),
    joint_figure="single_sample_pa_error_mm",
)
BEST_PA_JOINT_ERROR = _metric(
    "best_pa_joint_error",
    Unit.METRES,
    _JOINT,
    lambda c: _of_best_hand(c.hypothesis_errors),
    joint_figure="best_of_all_pa_error_mm",
)
STAGE1_JOINT_ERROR = _metric(
    "stage1_joint_error",
    Unit.METRES,
    (),
    lambda c: _where(c.stage1_joints, lambda joints: metrics.mpjpe(joints.mean(dim=1), c.true_joints)),
)
STAGE1_PA_JOINTS = _metric(
    "stage1_pa_joints",
    Unit.METRES,
    (),
    lambda c: _where(c.stage1_joints, lambda joints: metrics.pa_error(joints.mean(dim=1), c.true_joints)),
)
STAGE1_HYPOTHESIS_PA_JOINTS = _metric(
    "stage1_hypothesis_pa_joints",
    Unit.METRES,
    _HYPOTHESIS,
    lambda c: _where(c.stage1_joints, lambda joints: metrics.pa_error(joints, c.true_joints.unsqueeze(1))),
)

# -- the control: random hands -----------------------------------------------------------------------------

PRIOR_PA_JOINTS = _metric(
    "prior_pa_joints",
    Unit.METRES,
    _HYPOTHESIS,
    lambda c: _where(c.prior_errors, lambda errors: errors.mean(dim=-1)),
)
PRIOR_PA_VERTICES = _metric(
    "prior_pa_vertices",
    Unit.METRES,
    _HYPOTHESIS,
    lambda c: _where(c.prior_vertices, lambda meshes: metrics.pa_error(meshes, c.true_vertices.unsqueeze(1))),
)
PRIOR_BEST_PA_JOINT_ERROR = _metric(
    "prior_best_pa_joint_error",
    Unit.METRES,
    _JOINT,
    lambda c: _where(c.prior_errors, _of_best_hand),
    joint_figure="prior_best_of_all_pa_error_mm",
)

# -- keypoints ---------------------------------------------------------------------------------------------

KEYPOINT_ERROR = _metric(
    "keypoint_error",
    Unit.SHARE_OF_BOX,
    _JOINT,
    lambda c: metrics.keypoint_error_2d(c.keypoints, c.batch.keypoints_px, per_point=True),
    joint_figure="keypoint_error_percent_of_box",
)
KEYPOINT_SCORE = _metric("keypoint_score", Unit.SHARE, _JOINT, lambda c: c.keypoint_scores)
KEYPOINT_DISTANCE = _metric("keypoint_distance", Unit.DEVIATIONS, _JOINT, lambda c: c.keypoint_distance)
KEYPOINT_ERROR_PX = _metric(
    "keypoint_error_px",
    Unit.PIXELS,
    _JOINT,
    lambda c: metrics.point_distance(c.keypoints, c.batch.keypoints_px),
)


# -- the same for every way to aggregate, and for every stage ----------------------------------------------


@dataclass(frozen=True)
class AggregationMetrics:
    """What is measured of the hypotheses' aggregated answer."""

    pa_joints: Metric
    pa_vertices: Metric
    joint_error: Metric


def _aggregation_metrics(method: str) -> AggregationMetrics:
    # The joints turned upon each other first are told as a whole, not by joint.
    joint_figure = None if method == "aligned" else f"{method}_root_relative_error_mm"
    return AggregationMetrics(
        pa_joints=_metric(
            f"{method}_pa_joints",
            Unit.METRES,
            (),
            lambda c: metrics.pa_error(c.aggregated_joints(method), c.true_joints),
        ),
        pa_vertices=_metric(
            f"{method}_pa_vertices",
            Unit.METRES,
            (),
            lambda c: _where(c.aggregated_vertices(method), lambda mesh: metrics.pa_error(mesh, c.true_vertices)),
        ),
        joint_error=_metric(
            f"{method}_joint_error",
            Unit.METRES,
            _JOINT,
            lambda c: metrics.root_relative_error(c.aggregated_joints(method), c.true_joints),
            joint_figure=joint_figure,
        ),
    )


@dataclass(frozen=True)
class DistributionMetrics:
    """What is measured of the hypotheses of a stage as a distribution."""

    spread: Metric
    rank: Metric
    rank_median: Metric
    energy: Metric
    energy_whole_hand: Metric


def _distribution_metrics(stage: str, hypotheses: Callable[[Comparison], Tensor | None]) -> DistributionMetrics:
    def of(measure: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Comparison], Tensor | None]:
        return lambda c: _where(hypotheses(c), lambda joints: measure(joints, c.true_joints))

    return DistributionMetrics(
        spread=_metric(
            f"spread_{stage}",
            Unit.METRES,
            _JOINT,
            of(lambda joints, truth: spread(joints)),
            joint_figure=f"spread_{stage}_mm",
        ),
        rank=_metric(
            f"rank_{stage}",
            Unit.RANK,
            _JOINT,
            of(lambda joints, truth: uncertainty.truth_ranks(joints, truth, center="pooled")),
        ),
        rank_median=_metric(
            f"rank_median_{stage}",
            Unit.RANK,
            _JOINT,
            of(lambda joints, truth: uncertainty.truth_ranks(joints, truth, center="median")),
        ),
        energy=_metric(
            f"energy_{stage}",
            Unit.METRES,
            _JOINT,
            of(uncertainty.energy_score),
            joint_figure=f"energy_score_{stage}_mm",
        ),
        energy_whole_hand=_metric(
            f"energy_hand_{stage}",
            Unit.METRES,
            (),
            of(lambda joints, truth: uncertainty.energy_score(joints, truth, whole_hand=True)),
        ),
    )


AGGREGATED = {method: _aggregation_metrics(method) for method in MEANS}
DISTRIBUTION = {
    "stage1": _distribution_metrics("stage1", lambda c: c.stage1_joints),
    "stage2": _distribution_metrics("stage2", lambda c: c.joints),
}
