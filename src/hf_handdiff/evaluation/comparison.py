"""A prediction beside the truth of its batch: what the metrics are computed from, each quantity once.

Meshes are compared vertex by vertex only where prediction and truth are meshes of the same hand model
(`EvaluationSettings.predicted_mesh` and `true_mesh`): the open hand and MANO both have 778 vertices, but not the same
ones. Otherwise the predicted mesh is aligned by the joints and has F-scores alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hf_handdiff.evaluation import metrics
from hf_handdiff.evaluation.batches import HandBatch, Prediction
from hf_handdiff.evaluation.official import F_SCORE_THRESHOLDS_M
from hf_handdiff.evaluation.prior import PriorBaseline
from hf_handdiff.pipelines.aggregation import aggregate


def as_tensor(values: Any) -> Tensor | None:
    """Float32 on the CPU; None stays None."""
    return None if values is None else torch.as_tensor(values).detach().float().cpu()


@dataclass
class Comparison:
    """Prediction and truth of B samples; points in metres, wrist-relative, joints in our order.

    What the prediction or the data set does not have is None.

    Attributes:
        prediction: of a predictor.
        batch: what it was given, with the truth.
        prior: the control, or None.
        same_vertices: vertex i of the predicted mesh is vertex i of the true one, if there are as many.
        true_mesh: whose vertices the truth has, see `EvaluationSettings`.
    """

    prediction: Prediction
    batch: HandBatch
    prior: PriorBaseline | None = None
    same_vertices: bool = True
    true_mesh: str | None = None

    # -- joints --

    @cached_property
    def joints(self) -> Tensor:
        """(B, N, 21, 3) m, the hypotheses."""
        return as_tensor(self.prediction.joints)

    @cached_property
    def stage1_joints(self) -> Tensor | None:
        """(B, N, 21, 3) m, those of the first stage."""
        return as_tensor(self.prediction.joint_hypotheses)

    @cached_property
    def mean_joints(self) -> Tensor:
        """(B, 21, 3) m, the answer."""
        return as_tensor(self.prediction.mean_joints)

    @property
    def true_joints(self) -> Tensor:
        """(B, 21, 3) m."""
        return self.batch.joints

    @cached_property
    def hypothesis_errors(self) -> Tensor:
        """(B, N, 21) m, Procrustes-aligned."""
        return metrics.pa_error(self.joints, self.true_joints.unsqueeze(1), per_point=True)

    @cached_property
    def answer_errors_rotation(self) -> Tensor:
        """(B, 21) m, of the answer, Procrustes-aligned without reflections."""
        return metrics.pa_error(self.mean_joints, self.true_joints, allow_reflections=False, per_point=True)

    def aggregated_joints(self, method: str) -> Tensor:
        """(B, 21, 3) m, the hypotheses aggregated."""
        return aggregate(self.joints, method=method)[0]

    # -- meshes --

    @cached_property
    def vertices(self) -> Tensor | None:
        """(B, N, V, 3) m, only where both sides have meshes with the same vertices."""
        vertices = as_tensor(self.prediction.vertices)
        if vertices is None or self.true_vertices is None or not self.same_vertices:
            return None
        return vertices if vertices.shape[-2] == self.true_vertices.shape[-2] else None

    @cached_property
    def mean_vertices(self) -> Tensor | None:
        """(B, V, 3) m, the answer's mesh, where both sides have meshes with the same vertices."""
        return None if self.vertices is None else as_tensor(self.prediction.mean_vertices)

    @property
    def true_vertices(self) -> Tensor | None:
        """(B, V, 3) m."""
        return self.batch.vertices

    @cached_property
    def aligned_vertices(self) -> Tensor | None:
        """(B, V, 3) m, the answer's mesh aligned: by vertices where they are the same, else by joints."""
        if self.prediction.vertices is None or self.true_vertices is None:
            return None
        if self.mean_vertices is not None:
            return metrics.procrustes_align(self.mean_vertices, self.true_vertices)
        mean_vertices = as_tensor(self.prediction.mean_vertices)
        return metrics.align_mesh_by_joints(mean_vertices, self.mean_joints, self.true_joints)

    @cached_property
    def f_scores(self) -> Tensor | None:
        """(B, T) 0..1 of the aligned mesh, at each of `F_SCORE_THRESHOLDS_M`."""
        if self.aligned_vertices is None:
            return None
        return metrics.f_score(self.aligned_vertices, self.true_vertices, F_SCORE_THRESHOLDS_M)

    def aggregated_vertices(self, method: str) -> Tensor | None:
        """(B, V, 3) m, the hypotheses' meshes aggregated."""
        return None if self.vertices is None else aggregate(self.joints, self.vertices, method)[1]

    # -- keypoints --

    @cached_property
    def keypoints(self) -> Tensor:
        """(B, 21, 2) px."""
        return as_tensor(self.prediction.keypoints_2d)

    @property
    def keypoint_scores(self) -> Tensor | None:
        """(B, 21) 0..1; None of a predictor that tells none."""
        scores = getattr(self.prediction, "keypoint_scores", None)
        return None if scores is None else as_tensor(scores)

    @property
    def keypoint_distance(self) -> Tensor | None:
        """(B, 21) of the true points from the estimates, in standard deviations of the predicted distribution: for a
        normal distribution half of them are below 1.18 and nine in ten below 2.15."""
        covariance = getattr(self.prediction, "keypoint_cov", None)
        if covariance is None:
            return None
        offset = (self.keypoints - self.batch.keypoints_px)[..., None].double()
        solved = torch.linalg.solve(as_tensor(covariance).double(), offset)
        return (offset * solved).sum((-2, -1)).sqrt().float()

    # -- the control --

    @cached_property
    def _prior_hands(self) -> tuple[Tensor, Tensor] | None:
        return None if self.prior is None else self.prior.choose(self.batch.seeds, self.joints.shape[1])

    @cached_property
    def prior_errors(self) -> Tensor | None:
        """(B, N, 21) m, of as many random hands, Procrustes-aligned."""
        if self._prior_hands is None:
            return None
        return metrics.pa_error(self._prior_hands[0], self.true_joints.unsqueeze(1), per_point=True)

    @cached_property
    def prior_vertices(self) -> Tensor | None:
        """(B, N, V, 3) m, of as many random hands, where the truth has their vertices."""
        if self._prior_hands is None or self.true_vertices is None or self.true_mesh not in (self.prior.mesh, None):
            return None
        vertices = self._prior_hands[1]
        return vertices if vertices.shape[-2] == self.true_vertices.shape[-2] else None
