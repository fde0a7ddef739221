"""Running a predictor over annotated images: batches in, per-sample measures out, chunk by chunk.

A predictor is any callable that takes a `HandBatch` and answers as `CascadedHandPipeline` does (see
`Prediction`); this module knows no model. Measures are written to disk chunk by chunk, so that a run that was
stopped goes on where it was. Every sample has a seed of its own, from the run's seed and its index: results
do not depend on the batch size, on where a run was stopped, or on the number of samples.

Meshes are compared vertex by vertex only where prediction and truth are meshes of the same hand model
(`EvaluationSettings.predicted_mesh` and `true_mesh`): the open hand and MANO both have 778 vertices, but not the same
ones. Otherwise the predicted mesh is aligned by the joints and has F-scores alone.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation import metrics
from hf_handdiff.evaluation.official import F_SCORE_THRESHOLDS_M, Answer, OfficialLayout, absolute_answer
from hf_handdiff.evaluation.processes import ALL_OF_IT, ProcessShare
from hf_handdiff.evaluation.row_reading import RowReader
from hf_handdiff.files import replace_file
from hf_handdiff.hand.topology import OPEN_HAND
from hf_handdiff.images import load_image
from hf_handdiff.json_files import read_json_object
from hf_handdiff.pipelines.aggregation import AGGREGATIONS, aggregate, spread

CHUNK_SIZE = 50  # samples a chunk: what a stopped run loses at most
BEST_OF = (1, 5, 10, 20, 50)
NUM_JOINTS = 21
REQUIRED_COLUMNS = ("image", "intrinsics_px", "keypoints_2d_px", "joints_m")
_BLIND_POOL_SIZE = 2000
_ANSWERS = "answers"


# -- what goes in and what comes out -----------------------------------------------------------------------


class Prediction(Protocol):
    """What a predictor returns: arrays or tensors, metres, wrist-relative, as the pipelines' outputs.

    Two more are used where they are there: `translation` (B, N, 3) m, the wrist in the camera frame, for official
    answers; and `found` (B,) bool, of a predictor that may find no hand and then answers with NaN.
    """

    joints: Any  # (B, N, 21, 3)
    vertices: Any  # (B, N, V, 3), or None for a predictor without meshes
    joint_hypotheses: Any  # (B, N, 21, 3), or None for a predictor with one stage
    mean_joints: Any  # (B, 21, 3)
    mean_vertices: Any  # (B, V, 3), or None
    joint_std: Any  # (B, 21)
    keypoints_2d: Any  # (B, 21, 2) px
    hand_score: Any  # (B,)


@dataclass
class HandBatch:
    """Some annotated images. The predictor may look at images, cameras and seeds; the rest is the truth.

    Attributes:
        indices: position of each sample in the data set.
        sample_ids: what the data set calls them.
        images: (H, W, 3) uint8 RGB; each is a hand crop.
        intrinsics_px: (B, 3, 3).
        seeds: one int a sample.
        has_hand: (B,) bool; where False nothing but `hand_score` is measured.
        keypoints_px: (B, 21, 2).
        keypoints_visible: (B, 21) bool.
        joints: (B, 21, 3) m, wrist-relative.
        vertices: (B, V, 3) m, wrist-relative, or None where the data set has no meshes.
        visible_share: (B,) 0..1, how much of the hand is seen.
        wrist: (B, 3) m, where the true wrist stands in the camera frame; NaN where the data set does not tell.
        skin_tone: (B,) 0 lightest .. 1 darkest, -1 where it is not known; None: of no sample.
    """

    indices: list[int]
    sample_ids: list[str]
    images: list[np.ndarray]
    intrinsics_px: Tensor
    seeds: list[int]
    has_hand: Tensor
    keypoints_px: Tensor
    keypoints_visible: Tensor
    joints: Tensor
    vertices: Tensor | None
    visible_share: Tensor
    wrist: Tensor
    skin_tone: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)


Predictor = Callable[[HandBatch], Prediction]
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class EvaluationSettings:
    """What decides the numbers of a run; a folder of results belongs to one of these.

    Attributes:
        predictor: what was evaluated, e.g. a checkpoint's name and the digest of its files.
        data: name of the data set, or its Hub id.
        split: its split.
        num_hypotheses: N.
        seed: of the hypotheses and of the prior control.
        options: whatever else the predictor was given.
        predicted_mesh, true_mesh: whose vertices prediction and truth have, `topology.OPEN_HAND` or another name;
            None: not known, and taken for the other's.
    """

    predictor: str
    data: str
    split: str
    num_hypotheses: int
    seed: int = 0
    options: str = ""
    predicted_mesh: str | None = None
    true_mesh: str | None = None

    @property
    def same_vertices(self) -> bool:
        """Whether predicted and true meshes can be compared vertex by vertex."""
        return self.predicted_mesh == self.true_mesh or None in (self.predicted_mesh, self.true_mesh)

    def best_of(self) -> list[int]:
        """The n of best-of-n that this run can tell."""
        return sorted({n for n in (*BEST_OF, self.num_hypotheses) if n <= self.num_hypotheses})


@dataclass
class PriorBaseline:
    """Hands that never saw the image: the control beside every best-of-N.

    Attributes:
        joints: (M, 21, 3) m.
        vertices: (M, V, 3) m, of the open hand.
    """

    joints: Tensor
    vertices: Tensor

    def choose(self, seeds: list[int], count: int) -> tuple[Tensor, Tensor]:
        """`count` of them for each seed: (B, count, 21, 3) and (B, count, V, 3)."""
        rows = [np.random.default_rng([seed, 1]).integers(len(self.joints), size=count) for seed in seeds]
        picked = torch.from_numpy(np.stack(rows))
        return self.joints[picked], self.vertices[picked]


def sample_prior_baseline(size: int = _BLIND_POOL_SIZE, seed: int = 0) -> PriorBaseline:
    """Random poses and shapes of the pose sampler that the synthetic corpus draws from."""
    from hf_handdiff.hand.layer import HandLayer
    from hf_handdiff.hand.poses import sample_poses

    generator = torch.Generator().manual_seed(seed)
    pose = sample_poses(size, generator)
    shape = torch.randn(size, 10, generator=generator)
    with torch.no_grad():
        mesh = HandLayer.open_hand()(pose.float(), shape)
    wrist = mesh.joints[:, :1]
    return PriorBaseline(mesh.joints - wrist, mesh.vertices - wrist)


# -- reading a data set ------------------------------------------------------------------------------------


def sample_seed(seed: int, index: int) -> int:
    """The seed of one sample of a run."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) >> 2


def check_columns(columns: Iterable[str] | None) -> None:
    """Raise an `InputError` that names what a data set lacks; None (unknown) passes."""
    missing = [] if columns is None else [name for name in REQUIRED_COLUMNS if name not in set(columns)]
    if missing:
        raise InputError(f"data: expected the columns {', '.join(REQUIRED_COLUMNS)}; missing: {', '.join(missing)}")


def collate(rows: list[Mapping[str, Any]], first_index: int, seed: int) -> HandBatch:
    """Rows of the corpus schema (see `hf_handdiff.data.features`) -> a batch, points moved to the wrist."""
    check_columns(rows[0].keys())

    def stack(name: str, default: Any = None) -> Tensor:
        return torch.stack([torch.as_tensor(np.array(row.get(name, default))) for row in rows])

    joints = stack("joints_m").float()
    wrist = joints[:, :1]
    has_meshes = all(row.get("vertices_m") is not None for row in rows)
    visible = stack("keypoints_visible", [True] * NUM_JOINTS).bool()
    indices = list(range(first_index, first_index + len(rows)))
    return HandBatch(
        indices=indices,
        sample_ids=[str(row.get("sample_id", index)) for row, index in zip(rows, indices, strict=True)],
        images=[load_image(row["image"]) for row in rows],
        intrinsics_px=stack("intrinsics_px").float(),
        seeds=[sample_seed(seed, index) for index in indices],
        has_hand=stack("has_hand", True).bool(),
        keypoints_px=stack("keypoints_2d_px").float(),
        keypoints_visible=visible,
        joints=joints - wrist,
        vertices=stack("vertices_m").float() - wrist if has_meshes else None,
        visible_share=stack("visible_share", math.nan).float(),
        wrist=wrist[:, 0],
        skin_tone=stack("skin_tone", -1.0).float(),
    )


# -- measuring ---------------------------------------------------------------------------------------------


def _tensor(values: Any) -> Tensor | None:
    return None if values is None else torch.as_tensor(values).detach().float().cpu()


def _measure_distribution(hypotheses: Tensor, truth: Tensor, stage: str) -> dict[str, Tensor]:
    """Spread, ranks and energy score of (B, N, 21, 3) hypotheses; names end in the stage."""
    return {
        f"spread_{stage}": spread(hypotheses),
        f"rank_{stage}": metrics.truth_ranks(hypotheses, truth, center="pooled"),
        f"rank_median_{stage}": metrics.truth_ranks(hypotheses, truth, center="median"),
        f"energy_{stage}": metrics.energy_score(hypotheses, truth),
        f"energy_hand_{stage}": metrics.energy_score(hypotheses, truth, whole_hand=True),
    }


def _measure_chosen(errors: Tensor, prefix: str) -> dict[str, Tensor]:
    """Errors per joint (B, N, 21) -> of the hand that is best as a whole, the oracle's choice of best-of-N."""
    best = errors.mean(dim=-1).argmin(dim=1)
    return {f"{prefix}best_pa_joint_error": errors[torch.arange(len(errors)), best]}


def _measure_joints(prediction: Prediction, batch: HandBatch) -> dict[str, Tensor]:
    joints, mean_joints, truth = _tensor(prediction.joints), _tensor(prediction.mean_joints), batch.joints
    hypothesis_errors = metrics.pa_error(joints, truth.unsqueeze(1), per_point=True)  # (B, N, 21)
    rotation_errors = metrics.pa_error(mean_joints, truth, allow_reflections=False, per_point=True)
    measures = {
        "joint_error": metrics.root_relative_error(mean_joints, truth),
        "joint_std": _tensor(prediction.joint_std),
        "pa_joint_error": metrics.pa_error(mean_joints, truth, per_point=True),
        "pa_joint_error_rotation": rotation_errors,
        "pa_joints_rotation": rotation_errors.mean(dim=-1),
        "scale_translation_error": metrics.scale_translation_aligned_error(mean_joints, truth),
        "hypothesis_pa_joints": hypothesis_errors.mean(dim=-1),
        "single_pa_joint_error": hypothesis_errors.mean(dim=1),
        **_measure_chosen(hypothesis_errors, ""),
        "hypothesis_joint_error": metrics.mpjpe(joints, truth.unsqueeze(1)),
        **_measure_distribution(joints, truth, "stage2"),
    }
    for method in AGGREGATIONS:
        answer, _ = aggregate(joints, method=method)
        measures[f"{method}_pa_joints"] = metrics.pa_error(answer, truth)
        measures[f"{method}_joint_error"] = metrics.root_relative_error(answer, truth)
    if prediction.joint_hypotheses is not None:
        proposals = _tensor(prediction.joint_hypotheses)
        measures["stage1_joint_error"] = metrics.mpjpe(proposals.mean(dim=1), truth)
        measures["stage1_pa_joints"] = metrics.pa_error(proposals.mean(dim=1), truth)
        measures["stage1_hypothesis_pa_joints"] = metrics.pa_error(proposals, truth.unsqueeze(1))
        measures |= _measure_distribution(proposals, truth, "stage1")
    return measures


def _measure_f_scores(aligned: Tensor, truth: Tensor) -> dict[str, Tensor]:
    f_scores = metrics.f_score(aligned, truth, F_SCORE_THRESHOLDS_M)
    return {
        f"f_score_{1000 * threshold:.0f}mm": values
        for threshold, values in zip(F_SCORE_THRESHOLDS_M, f_scores.unbind(-1), strict=True)
    }


def _measure_other_meshes(prediction: Prediction, batch: HandBatch) -> dict[str, Tensor]:
    """Of meshes whose vertices are not the true ones: aligned by the joints, with F-scores alone."""
    mean_vertices, mean_joints = _tensor(prediction.mean_vertices), _tensor(prediction.mean_joints)
    return _measure_f_scores(metrics.align_mesh_by_joints(mean_vertices, mean_joints, batch.joints), batch.vertices)


def _measure_meshes(prediction: Prediction, batch: HandBatch) -> dict[str, Tensor]:
    joints, vertices = _tensor(prediction.joints), _tensor(prediction.vertices)
    mean_vertices, truth = _tensor(prediction.mean_vertices), batch.vertices
    aligned = metrics.procrustes_align(mean_vertices, truth)
    measures = {
        "pa_vertices": metrics.point_distance(aligned, truth).mean(dim=-1),
        "pa_vertices_rotation": metrics.pa_error(mean_vertices, truth, allow_reflections=False),
        "vertex_error": metrics.point_distance(mean_vertices, truth).mean(dim=-1),
        "hypothesis_pa_vertices": metrics.pa_error(vertices, truth.unsqueeze(1)),
        **_measure_f_scores(aligned, truth),
    }
    for method in AGGREGATIONS:
        _, answer = aggregate(joints, vertices, method)
        measures[f"{method}_pa_vertices"] = metrics.pa_error(answer, truth)
    return measures


def _measure_prior(prior: PriorBaseline, batch: HandBatch, count: int, true_mesh: str | None) -> dict[str, Tensor]:
    joints, vertices = prior.choose(batch.seeds, count)
    errors = metrics.pa_error(joints, batch.joints.unsqueeze(1), per_point=True)
    measures = {"prior_pa_joints": errors.mean(dim=-1), **_measure_chosen(errors, "prior_")}
    same = batch.vertices is not None and batch.vertices.shape[-2] == vertices.shape[-2]
    if same and true_mesh in (OPEN_HAND, None):
        measures["prior_pa_vertices"] = metrics.pa_error(vertices, batch.vertices.unsqueeze(1))
    return measures


def measure_batch(
    prediction: Prediction,
    batch: HandBatch,
    prior: PriorBaseline | None = None,
    *,
    same_vertices: bool = True,
    true_mesh: str | None = None,
) -> Scores:
    """All measures of some samples; metres, leading dimension B.

    Meshes are compared vertex by vertex where `same_vertices` says so and the numbers of vertices agree. Rows
    without a hand have NaN everywhere but in `hand_score`.
    """
    num_hypotheses = _tensor(prediction.joints).shape[1]
    measures = _measure_joints(prediction, batch)
    vertices = _tensor(prediction.vertices)
    if vertices is not None and batch.vertices is not None:
        same = same_vertices and vertices.shape[-2] == batch.vertices.shape[-2]
        measures |= (_measure_meshes if same else _measure_other_meshes)(prediction, batch)
    if prior is not None:
        measures |= _measure_prior(prior, batch, num_hypotheses, true_mesh)
    keypoints = _tensor(prediction.keypoints_2d)
    measures["keypoint_error"] = metrics.keypoint_error_2d(keypoints, batch.keypoints_px, per_point=True)
    measures["keypoint_error_px"] = metrics.point_distance(keypoints, batch.keypoints_px)
    for values in measures.values():
        values[~batch.has_hand] = math.nan
    return {name: values.numpy() for name, values in measures.items()} | _describe(prediction, batch)


def _describe(prediction: Prediction, batch: HandBatch) -> Scores:
    """What is to be said of samples without their truth."""
    found = getattr(prediction, "found", None)
    tones = {} if batch.skin_tone is None else {"skin_tone": batch.skin_tone.numpy()}
    return tones | {
        "hand_score": _tensor(prediction.hand_score).numpy(),
        "found": np.ones(len(batch), bool) if found is None else np.asarray(found, bool),
        "has_hand": batch.has_hand.numpy(),
        "visible_share": batch.visible_share.numpy(),
        "keypoints_visible": batch.keypoints_visible.numpy(),
        "index": np.array(batch.indices),
        "sample_id": np.array(batch.sample_ids),
    }


# -- running -----------------------------------------------------------------------------------------------


def _join(parts: list[Scores]) -> Scores:
    """Scores of several batches as one; measures that not all of them have are dropped (mixed data sets)."""
    names = set.intersection(*(set(part) for part in parts))
    return {name: np.concatenate([part[name] for part in parts]) for name in sorted(names)}


def _save_chunk(path: Path, scores: Scores) -> None:
    with replace_file(path) as temporary:
        np.savez(temporary, **scores)


def _load_chunk(path: Path) -> Scores:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def claim_folder(out: Path, settings: EvaluationSettings) -> None:
    """Make the folder of a run, or make sure that what lies in it belongs to the same settings.

    Raises:
        InputError: it holds results of other settings; the message names what differs.
    """
    (out / "chunks").mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    if path.exists():
        before, now = read_json_object(path, "out"), asdict(settings)
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            details = "; ".join(f"{name} {before.get(name)!r}, now {now[name]!r}" for name in changed)
            raise InputError(f"out: {out} holds results of other settings ({details}); name another folder or empty it")
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(asdict(settings), indent=2))


def run_protocol(
    predict: Predictor,
    dataset: Any,
    settings: EvaluationSettings,
    out: str | Path,
    *,
    num_samples: int | None = None,
    batch_size: int = 8,
    prior: PriorBaseline | None = None,
    answers_for: OfficialLayout | None = None,
    show_progress: bool = True,
    share: ProcessShare = ALL_OF_IT,
) -> Scores | None:
    """Evaluate a predictor on a data set; a run that was stopped goes on with the next chunk.

    With `answers_for`, hands without a published truth are predicted and not measured: their scores lack all measures.

    Args:
        predict: see `Predictor`.
        dataset: `datasets.Dataset`, `IterableDataset` or list of rows of the corpus schema.
        settings: what decides the numbers.
        out: folder for chunks and settings.
        num_samples: the first so many samples; None for all.
        batch_size: images a call of the predictor.
        prior: the control; None leaves it out.
        answers_for: also keep what an official answer in this layout needs, see `read_answers`; None: do not.
        show_progress: a progress bar on standard error, of the first process.
        share: the chunks that are measured here, where several processes run this with one folder `out`.

    Returns:
        Per-sample measures, arrays with leading dimension S; `seconds` holds the time of each prediction. None
        in all processes but the first.
    """
    out = Path(out)
    check_columns(getattr(dataset, "column_names", None))
    if hasattr(dataset, "with_format"):
        from hf_handdiff.data.photo_feature import with_checked_photos

        dataset = with_checked_photos(dataset).with_format("numpy")  # nested lists are hundreds of times slower to read
    reader = RowReader(dataset)
    size = len(dataset) if hasattr(dataset, "__len__") else None
    if size == 0:
        raise InputError("data: expected at least one sample, the data set is empty")
    if num_samples is not None and num_samples < 1:
        raise InputError(f"num_samples: expected at least 1, got {num_samples}")
    limits = [limit for limit in (size, num_samples) if limit is not None]
    total = min(limits) if limits else None
    claim_folder(out, settings)
    if answers_for is not None:
        (out / _ANSWERS).mkdir(exist_ok=True)

    own = (
        [bounds for number, bounds in _chunk_bounds(total) if share.is_assigned(number)] if total is not None else None
    )
    expected = None if own is None else sum(stop - start for start, stop in own)
    with tqdm(total=expected, unit="image", disable=not (show_progress and share.is_main)) as progress:
        for number, (start, stop) in _chunk_bounds(total):
            if not share.is_assigned(number):
                continue
            path, answers_path = (out / folder / _chunk_name(start, stop) for folder in ("chunks", _ANSWERS))
            if path.exists() and (answers_for is None or answers_path.exists()):
                measured = len(_load_chunk(path)["index"])
                progress.update(measured)
            else:
                rows = reader.rows(start, stop)
                found = _run_chunk(predict, rows, start, settings, batch_size, prior, answers_for, progress)
                if found is None:  # a stream of unknown length has ended
                    break
                chunk, answers = found
                if answers is not None:
                    _save_chunk(answers_path, answers)
                _save_chunk(path, chunk)
                measured = len(chunk["index"])
            if measured < stop - start:
                break
    share.wait()
    return _join_chunks(out, total) if share.is_main else None


def _chunk_bounds(total: int | None) -> Iterator[tuple[int, tuple[int, int]]]:
    """(number, (start, stop)) of every chunk; without end where the number of samples is unknown."""
    for number in itertools.count():
        start = number * CHUNK_SIZE
        if total is not None and start >= total:
            return
        yield number, (start, start + CHUNK_SIZE if total is None else min(start + CHUNK_SIZE, total))


def _join_chunks(out: Path, total: int | None) -> Scores:
    """The scores of all chunks in order, up to the end of the data: the first chunk that is short or missing."""
    chunks: list[Scores] = []
    for _, (start, stop) in _chunk_bounds(total):
        path = out / "chunks" / _chunk_name(start, stop)
        if not path.exists():
            break
        chunks.append(_load_chunk(path))
        if len(chunks[-1]["index"]) < stop - start:
            break
    if not chunks:
        raise InputError("data: expected at least one sample, the data set is empty")
    return _join(chunks)


def _run_chunk(
    predict: Predictor,
    rows: Iterator[Mapping[str, Any]],
    start: int,
    settings: EvaluationSettings,
    batch_size: int,
    prior: PriorBaseline | None,
    answers_for: OfficialLayout | None,
    progress: tqdm,
) -> tuple[Scores, Answer | None] | None:
    """Scores and, where they are wanted, answers of the rows of a chunk; None where there are no rows."""
    parts: list[Scores] = []
    answers: list[Answer] = []
    first_index = start
    while waiting := list(itertools.islice(rows, batch_size)):
        batch = collate(waiting, first_index, settings.seed)
        is_measured = answers_for is None or bool(torch.isfinite(batch.joints).flatten(1).all(dim=1).any())
        if is_measured:
            _check_truth(batch)
        began = time.perf_counter()
        prediction = predict(batch)
        seconds = (time.perf_counter() - began) / len(batch)
        _check_prediction(prediction, batch, settings)
        if is_measured:
            compared = {"same_vertices": settings.same_vertices, "true_mesh": settings.true_mesh}
            scores = measure_batch(prediction, batch, prior, **compared)
        else:
            scores = _describe(prediction, batch)
        if answers_for is not None:
            answers.append(absolute_answer(prediction, batch.wrist, answers_for) | _absolute_truth(batch))
        scores["seconds"] = np.full(len(batch), seconds)
        parts.append(scores)
        first_index += len(batch)
        progress.update(len(batch))
    if not parts:
        return None
    return _join(parts), _join(answers) if answers else None


def _chunk_name(start: int, stop: int) -> str:
    return f"{start:08d}-{stop:08d}.npz"


def _absolute_truth(batch: HandBatch) -> Answer:
    """The truth in the camera frame, NaN where it is not known."""
    wrist = batch.wrist.unsqueeze(1)
    truth = {"true_joints": (batch.joints + wrist).numpy()}
    if batch.vertices is not None:
        truth["true_vertices"] = (batch.vertices + wrist).numpy()
    return truth


def read_answers(out: str | Path, num_samples: int) -> Iterator[Answer]:
    """The answers that `run_protocol` kept, chunk by chunk, in the order of the data set.

    Args:
        out: folder of the run.
        num_samples: how many it had, as many as there are scores.

    Yields:
        What `official.absolute_answer` gives, with `true_joints` and, where the data set has meshes,
        `true_vertices`: m, camera frame, our order and axes.
    """
    for start in range(0, num_samples, CHUNK_SIZE):
        stop = min(start + CHUNK_SIZE, num_samples)
        path = Path(out) / _ANSWERS / _chunk_name(start, stop)
        if not path.exists():  # the last chunk of a stream, whose length was not known
            path = path.with_name(_chunk_name(start, start + CHUNK_SIZE))
        yield {name: values[: stop - start] for name, values in _load_chunk(path).items()}


def _check_truth(batch: HandBatch) -> None:
    unknown = batch.has_hand & ~torch.isfinite(batch.joints).flatten(1).all(dim=1)
    if unknown.any():
        sample_id = batch.sample_ids[int(unknown.nonzero()[0])]
        raise InputError(
            f"data: expected the true joints of every hand, sample {sample_id} has NaN: "
            "an imported evaluation split can be measured only with its published truth"
        )


def _check_prediction(prediction: Prediction, batch: HandBatch, settings: EvaluationSettings) -> None:
    expected = (len(batch), settings.num_hypotheses, NUM_JOINTS, 3)
    shape = tuple(_tensor(prediction.joints).shape)
    if shape != expected:
        raise InputError(f"predictor: expected joints of shape {expected}, got {shape}")
