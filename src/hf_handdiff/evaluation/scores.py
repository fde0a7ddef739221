"""Per-sample measures of a run: measured batch by batch, kept as npz files, joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.data.features import UNKNOWN_SKIN_TONE
from hf_handdiff.evaluation.batches import HandBatch, Prediction
from hf_handdiff.evaluation.comparison import Comparison, as_tensor
from hf_handdiff.evaluation.measures import METRICS, PA_JOINT_ERROR, Metric
from hf_handdiff.evaluation.prior import PriorBaseline
from hf_handdiff.files import replace_file


@dataclass(frozen=True)
class Scores:
    """What is known of S samples and their predictions; `scores[metric]` is a measure.

    Attributes:
        index: (S,) position in the data set.
        sample_id: (S,) what the data set calls them.
        has_hand: (S,) bool; where False every measure is NaN.
        found: (S,) bool, whether the predictor found a hand.
        hand_score: (S,) 0..1.
        visible_share: (S,) 0..1, how much of the hand is seen; NaN where it is not known.
        keypoints_visible: (S, 21) bool.
        skin_tone: (S,) 0 lightest .. 1 darkest, -1 where it is not known.
        seconds: (S,) of the prediction.
        measures: arrays (S, ...) by the names of `measures.METRICS`; those that were not taken are missing.
    """

    index: np.ndarray
    sample_id: np.ndarray
    has_hand: np.ndarray
    found: np.ndarray
    hand_score: np.ndarray
    visible_share: np.ndarray
    keypoints_visible: np.ndarray
    skin_tone: np.ndarray
    seconds: np.ndarray
    measures: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, metric: Metric) -> bool:
        return metric.name in self.measures

    def __getitem__(self, metric: Metric) -> Tensor:
        """(S, ...) in the unit of the metric; KeyError where it was not taken."""
        return torch.from_numpy(self.measures[metric.name])

    @property
    def is_measured(self) -> np.ndarray:
        """(S,) bool: samples with a hand and a finite prediction."""
        return self.has_hand & torch.isfinite(self[PA_JOINT_ERROR]).all(dim=1).numpy()

    def select(self, rows: np.ndarray) -> Scores:
        """Those of some samples: (S,) bool or indices."""
        return Scores.from_arrays({name: values[rows] for name, values in self.to_arrays().items()})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, as an npz file holds them; the inverse of `from_arrays`."""
        return {name: getattr(self, name) for name in _SAMPLE_FIELDS} | dict(self.measures)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Scores:
        """Of the arrays of `to_arrays`; those that no metric of today has the name of are left out.

        `found` and `skin_tone` may be missing, as in files of earlier versions.
        """
        count = len(arrays["index"])
        defaults = {"found": np.ones(count, bool), "skin_tone": np.full(count, UNKNOWN_SKIN_TONE, np.float32)}
        known = {name: arrays.get(name, defaults.get(name)) for name in _SAMPLE_FIELDS}
        for name in ("has_hand", "found", "keypoints_visible"):
            known[name] = known[name].astype(bool)
        return cls(**known, measures={name: arrays[name] for name in METRICS if name in arrays})

    @classmethod
    def join(cls, parts: Sequence[Scores]) -> Scores:
        """Of several batches as one; measures that not all of them have are dropped (mixed data sets)."""
        return cls.from_arrays(join_arrays([part.to_arrays() for part in parts]))

    def save(self, path: Path) -> None:
        """Write an npz file, under its name only when it is whole."""
        save_arrays(path, self.to_arrays())

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what `save` wrote."""
        return cls.from_arrays(load_arrays(path))


_SAMPLE_FIELDS = tuple(field.name for field in fields(Scores) if field.name != "measures")


def describe_batch(prediction: Prediction, batch: HandBatch, seconds: float = 0.0) -> Scores:
    """What is to be said of samples without their truth; `seconds` an image."""
    found = getattr(prediction, "found", None)
    count = len(batch)
    unknown = np.full(count, UNKNOWN_SKIN_TONE, np.float32)
    return Scores(
        index=np.array(batch.indices),
        sample_id=np.array(batch.sample_ids),
        has_hand=batch.has_hand.numpy(),
        found=np.ones(count, bool) if found is None else np.asarray(found, bool),
        hand_score=as_tensor(prediction.hand_score).numpy(),
        visible_share=batch.visible_share.numpy(),
        keypoints_visible=batch.keypoints_visible.numpy(),
        skin_tone=unknown if batch.skin_tone is None else batch.skin_tone.numpy(),
        seconds=np.full(count, seconds),
        measures={},
    )


def measure_batch(
    prediction: Prediction,
    batch: HandBatch,
    prior: PriorBaseline | None = None,
    *,
    same_vertices: bool = True,
    true_mesh: str | None = None,
    seconds: float = 0.0,
) -> Scores:
    """Every metric of some samples that prediction and truth allow.

    Meshes are compared vertex by vertex where `same_vertices` says so and the numbers of vertices agree. Measures of
    samples without a hand are NaN.

    Args:
        prediction: of the batch.
        batch: with the truth.
        prior: the control; None leaves its measures out.
        same_vertices, true_mesh: see `EvaluationSettings`.
        seconds: that the prediction took, an image.
    """
    comparison = Comparison(prediction, batch, prior, same_vertices, true_mesh)
    taken = {}
    for name, metric in METRICS.items():
        values = metric.measure(comparison)
        if values is not None:
            has_hand = batch.has_hand.reshape(-1, *[1] * (values.ndim - 1))
            taken[name] = torch.where(has_hand, values, math.nan).numpy()
    return Scores.from_arrays(describe_batch(prediction, batch, seconds).to_arrays() | taken)


# -- arrays as files ---------------------------------------------------------------------------------------


def join_arrays(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of several batches as one; those that not all of them have are dropped."""
    names = set.intersection(*(set(part) for part in parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in sorted(names)}


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file, under its name only when it is whole."""
    with replace_file(path) as temporary:
        np.savez(temporary, **arrays)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an npz file."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
