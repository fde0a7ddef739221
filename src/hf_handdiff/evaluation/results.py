"""What `results.json` holds: the schema of the results of an evaluation.

Lengths are millimetres and say so in their names; shares of a whole are 0..1 unless a name says percent. A figure that
cannot be told (no meshes, one hypothesis, an empty group) is None, or null in the file. The keys of "accuracy" and of
"by_joint" that are means come from `measures.METRICS`.
"""

from __future__ import annotations

from typing import Any, TypedDict

Figure = float | None
Coverage = dict[str, Figure]
"""Share of the truths within the regions of 50, 80 and 90 %, by "50%", "80%", "90%"."""


class AnswerFigures(TypedDict):
    """Of one way to answer."""

    pa_mpjpe_mm: Figure
    pa_mpvpe_mm: Figure
    mpjpe_root_relative_mm: Figure


class Stage1Figures(TypedDict):
    """Of the first stage alone: of the mean of its hypotheses, and of a single one."""

    pa_mpjpe_mm: Figure
    single_sample_pa_mpjpe_mm: Figure
    mpjpe_root_relative_mm: Figure


class BestOfFigures(TypedDict):
    """Best of n, chosen by the truth; `prior_...` is the control, the best of n random hands."""

    pa_mpjpe_mm: Figure
    pa_mpvpe_mm: Figure
    stage1_pa_mpjpe_mm: Figure
    prior_pa_mpjpe_mm: Figure
    prior_pa_mpvpe_mm: Figure


class KeypointFigures(TypedDict):
    """Of the 2D keypoints; the box is the hand's, by its longer side."""

    error_percent_of_box: Figure
    visible_error_percent_of_box: Figure
    hidden_error_percent_of_box: Figure
    median_error_percent_of_box: Figure
    error_px: Figure


class DistributionFigures(TypedDict):
    """Of the hypotheses of a stage."""

    spread_mm: Figure
    coverage: Coverage
    ece: Figure
    ece_published_definition: Figure
    energy_score_mm: Figure
    energy_score_whole_hand_mm: Figure


class JointStdFigures(TypedDict, total=False):
    """Of the calibrated radius; empty where the predictor tells none."""

    predicted_rms_mm: Figure
    observed_rms_mm: Figure
    mean_square_ratio: Figure
    ence: Figure
    coverage: Coverage
    ece: Figure
    correlation_over_joints: Figure
    correlation_per_joint: Figure
    rank_correlation_of_hands: Figure
    ause: Figure
    ause_knowing_nothing: Figure
    reliability_predicted_mm: list[float]
    reliability_observed_mm: list[float]


class VisibilityFigures(TypedDict):
    """Whether the spread grows where joints are hidden."""

    visible_joints_spread_mm: Figure
    hidden_joints_spread_mm: Figure
    hidden_over_visible_same_joint: Figure
    correlation_hidden_spread_same_joint: Figure
    correlation_hidden_share_spread_of_hand: Figure


class HandScoreFigures(TypedDict):
    """How well `hand_score` tells images with a hand from images without."""

    images_with_hand: int
    images_without_hand: int
    mean_with_hand: Figure
    mean_without_hand: Figure
    accuracy_at_half: Figure
    area_under_roc: Figure


class GroupResults(TypedDict):
    """What is told both of all samples and of each group of them."""

    num_samples: int
    visible_share: Figure
    accuracy: dict[str, Figure]
    aggregated: dict[str, AnswerFigures]
    single_sample: AnswerFigures
    stage1: Stage1Figures
    best_of: dict[str, BestOfFigures]
    keypoints_2d: KeypointFigures
    distribution: dict[str, DistributionFigures | None]
    joint_std: JointStdFigures


class ReliabilityCurves(TypedDict, total=False):
    """Observed coverage at nominal levels."""

    nominal: list[Figure]
    stage1: list[Figure]
    stage2: list[Figure]
    joint_std: list[Figure]


class SparsificationCurves(TypedDict, total=False):
    """Mean error of the joints that are left when a share of them is removed."""

    removed_share: list[Figure]
    joint_std_mm: list[Figure]
    oracle_mm: list[Figure]


class BestOfCurves(TypedDict, total=False):
    """PA-MPJPE, mm, of the best of the first n hypotheses, and of the aggregated answer."""

    n: list[int]
    answer: Figure
    stage1: list[Figure]
    stage2: list[Figure]
    prior: list[Figure]


class VisibleShareCurves(TypedDict, total=False):
    """PA-MPJPE, mm, in bins of the visible share."""

    center: list[float]
    num_samples: list[int]
    answer: list[Figure]
    single: list[Figure]
    best: list[Figure]
    prior_best: list[Figure]


class Curves(TypedDict):
    """What the plots show."""

    reliability: ReliabilityCurves
    sparsification: SparsificationCurves
    best_of: BestOfCurves
    visible_share: VisibleShareCurves


class ComparedFigures(TypedDict):
    """Of one predictor on the images that a baseline and the checkpoint are compared on."""

    pa_mpjpe_mm: Figure
    keypoint_error_percent_of_box: Figure
    median_ms_per_image: Figure


class ComparedPredictors(TypedDict):
    """Both predictors on the same images."""

    checkpoint: ComparedFigures
    baseline: ComparedFigures


class BaselineResults(TypedDict, total=False):
    """Checkpoint and baseline side by side; the last four are the baseline's own, where it found a hand at all."""

    name: str
    num_images_with_hand: int
    num_found: int
    num_compared: int
    on_found_images: ComparedPredictors
    accuracy: dict[str, Figure]
    keypoints_2d: KeypointFigures
    hand_score: HandScoreFigures
    num_failed: int


class OfficialResults(TypedDict):
    """The official scores of an imported data set."""

    data_set: str
    num_images: int
    num_images_of_split: int
    root: str
    same_vertices: bool
    scores: dict[str, float] | None


class _OptionalResults(TypedDict, total=False):
    baseline: BaselineResults
    official: OfficialResults


class Results(GroupResults, _OptionalResults):
    """All results of a run."""

    settings: dict[str, Any]
    num_images: int
    num_failed: int
    num_not_found: int
    spread_and_visibility: dict[str, VisibilityFigures | None]
    hand_score: HandScoreFigures
    by_visible_share: dict[str, GroupResults]
    by_skin_tone: dict[str, GroupResults]
    by_joint: dict[str, dict[str, Any]]
    curves: Curves
    median_ms_per_image: Figure
