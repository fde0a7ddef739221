"""Running a predictor over annotated images: batches in, per-sample measures out, chunk by chunk.

A predictor is any callable that takes a `HandBatch` and answers as `CascadedHandPipeline` does (see
`batches.Prediction`); this module knows no model. Measures are written to disk chunk by chunk, so that a run that was
stopped goes on where it was. Every sample has a seed of its own, from the run's seed and its index: results
do not depend on the batch size, on where a run was stopped, or on the number of samples.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.batches import HandBatch, Prediction, Predictor, check_columns, collate
from hf_handdiff.evaluation.comparison import as_tensor
from hf_handdiff.evaluation.official import Answers, OfficialLayout, absolute_answers
from hf_handdiff.evaluation.prior import PriorBaseline
from hf_handdiff.evaluation.processes import ALL_OF_IT, ProcessShare
from hf_handdiff.evaluation.row_reading import RowReader
from hf_handdiff.evaluation.scores import (
    Scores,
    describe_batch,
    join_arrays,
    load_arrays,
    measure_batch,
    save_arrays,
)
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.files import replace_file
from hf_handdiff.hand.topology import NUM_JOINTS
from hf_handdiff.json_files import read_json_object

CHUNK_SIZE = 50  # samples a chunk: what a stopped run loses at most
_ANSWERS = "answers"


# -- reading a data set ------------------------------------------------------------------------------------


# -- running -----------------------------------------------------------------------------------------------


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
        Per-sample measures. None in all processes but the first.
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
                measured = len(Scores.load(path))
                progress.update(measured)
            else:
                rows = reader.rows(start, stop)
                found = _run_chunk(predict, rows, start, settings, batch_size, prior, answers_for, progress)
                if found is None:  # a stream of unknown length has ended
                    break
                chunk, answers = found
                if answers is not None:
                    save_arrays(answers_path, answers.to_arrays())
                chunk.save(path)
                measured = len(chunk)
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
        chunks.append(Scores.load(path))
        if len(chunks[-1]) < stop - start:
            break
    if not chunks:
        raise InputError("data: expected at least one sample, the data set is empty")
    return Scores.join(chunks)


def _run_chunk(
    predict: Predictor,
    rows: Iterator[Mapping[str, Any]],
    start: int,
    settings: EvaluationSettings,
    batch_size: int,
    prior: PriorBaseline | None,
    answers_for: OfficialLayout | None,
    progress: tqdm,
) -> tuple[Scores, Answers | None] | None:
    """Scores and, where they are wanted, answers of the rows of a chunk; None where there are no rows."""
    parts: list[Scores] = []
    answers: list[Answers] = []
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
            parts.append(measure_batch(prediction, batch, prior, **compared, seconds=seconds))
        else:
            parts.append(describe_batch(prediction, batch, seconds))
        if answers_for is not None:
            answers.append(absolute_answers(prediction, batch, answers_for))
        first_index += len(batch)
        progress.update(len(batch))
    if not parts:
        return None
    return Scores.join(parts), _join_answers(answers) if answers else None


def _join_answers(parts: list[Answers]) -> Answers:
    return Answers(**join_arrays([part.to_arrays() for part in parts]))


def _chunk_name(start: int, stop: int) -> str:
    return f"{start:08d}-{stop:08d}.npz"


def read_answers(out: str | Path, num_samples: int) -> Iterator[Answers]:
    """The answers that `run_protocol` kept, chunk by chunk, in the order of the data set.

    Args:
        out: folder of the run.
        num_samples: how many it had, as many as there are scores.

    Yields:
        The answers of a chunk with their truth.
    """
    for start in range(0, num_samples, CHUNK_SIZE):
        stop = min(start + CHUNK_SIZE, num_samples)
        path = Path(out) / _ANSWERS / _chunk_name(start, stop)
        if not path.exists():  # the last chunk of a stream, whose length was not known
            path = path.with_name(_chunk_name(start, start + CHUNK_SIZE))
        yield Answers(**{name: values[: stop - start] for name, values in load_arrays(path).items()})


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
    shape = tuple(as_tensor(prediction.joints).shape)
    if shape != expected:
        raise InputError(f"predictor: expected joints of shape {expected}, got {shape}")
