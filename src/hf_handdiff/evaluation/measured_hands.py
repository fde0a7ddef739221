"""The measured hands of a run or of a group of it: what the figures of the results are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.evaluation.calibration import region_coverage, region_ece, region_quantiles
from hf_handdiff.evaluation.measures import JOINT_ERROR, JOINT_STD, Metric
from hf_handdiff.evaluation.results import Coverage, Figure
from hf_handdiff.evaluation.scores import Scores
from hf_handdiff.evaluation.tables import as_number

COVERAGE_LEVELS = (0.5, 0.8, 0.9)
LEVEL_NAMES = tuple(f"{100 * level:.0f}%" for level in COVERAGE_LEVELS)


@dataclass(frozen=True)
class MeasuredHands:
    """Samples with a hand and a finite prediction.

    Attributes:
        scores: of these samples.
        num_hypotheses: N.
        regions: of the checkpoint's calibration, see `JointStdCalibration`; None: those of a Gaussian.
    """

    scores: Scores
    num_hypotheses: int
    regions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, metric: Metric) -> bool:
        return metric in self.scores

    def __getitem__(self, metric: Metric) -> Tensor:
        """(S, ...) float64, in the unit of the metric."""
        return self.scores[metric].double()

    def select(self, rows: np.ndarray) -> MeasuredHands:
        """Those of some samples: (S,) bool."""
        return MeasuredHands(self.scores.select(rows), self.num_hypotheses, self.regions)

    def mean(self, metric: Metric) -> Figure:
        """Mean over samples and everything else, NaN left out, as the results tell it; None: it was not taken."""
        return as_number(self[metric].nanmean() * metric.unit.factor) if metric in self else None

    @property
    def keypoints_visible(self) -> Tensor:
        """(S, 21) bool."""
        return torch.from_numpy(self.scores.keypoints_visible)

    @property
    def visible_share(self) -> Tensor:
        """(S,) 0..1, float64."""
        return torch.from_numpy(self.scores.visible_share).double()

    @cached_property
    def joint_regions(self) -> Tensor:
        """(S, 21) share of the region of `joint_std` that just reaches the truth."""
        return region_quantiles(self.scores[JOINT_STD], self.scores[JOINT_ERROR], self.regions)


# -- figures -----------------------------------------------------------------------------------------------


def numbers(values: Tensor) -> list[Figure]:
    """Plain finite floats, or None: (K,) -> K of them."""
    return [as_number(value) for value in values.flatten()]


def named_levels(covered: Tensor) -> Coverage:
    """Coverages (L,) at `COVERAGE_LEVELS` under the levels' names."""
    return {name: as_number(share) for name, share in zip(LEVEL_NAMES, covered, strict=True)}


def radius_calibration(shares: Tensor) -> tuple[Coverage, Figure]:
    """Coverage and calibration error of the regions of `joint_regions`, all entries together."""
    quantiles = shares.reshape(-1, 1)
    covered = region_coverage(quantiles, list(COVERAGE_LEVELS))[:, 0]
    return named_levels(covered), as_number(region_ece(quantiles))
