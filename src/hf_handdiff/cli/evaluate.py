"""`handdiff evaluate`: its arguments, and the wiring of a checkpoint to the protocol.

Heavy modules load when the command runs, not for its help.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_handdiff.cli.arguments import whole_number
from hf_handdiff.cli.pipeline_arguments import add_pipeline_arguments, checkpoint_digest, pipeline_options
from hf_handdiff.pipelines.defaults import AGGREGATIONS, DEFAULT_AGGREGATION, NUM_HYPOTHESES

if TYPE_CHECKING:
    from torch import Tensor

    from hf_handdiff.evaluation.batches import HandBatch, Prediction, Predictor
    from hf_handdiff.evaluation.official import OfficialLayout
    from hf_handdiff.evaluation.processes import ProcessShare
    from hf_handdiff.evaluation.results import BaselineResults, OfficialResults
    from hf_handdiff.evaluation.scores import Scores
    from hf_handdiff.evaluation.settings import EvaluationSettings


# -- arguments ---------------------------------------------------------------------------------------------


def add_evaluate_parser(subparsers) -> None:
    """Add `evaluate` to the subparsers of `handdiff`; sets `run`, arguments -> exit status."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a checkpoint on annotated images",
        description="Measure accuracy, spread and calibration on a data set in the corpus schema. Prints "
        "tables and writes results.json, report.md, plots, calibration.json and pictures of the best and worst "
        "hands. On a corpus of `handdiff data freihand` or `handdiff data ho3d` it also writes the official "
        "pred.json and pred.zip and tells the official scores; where the truth was not published, these files are "
        "all that it writes. A run that was stopped goes on where it was when it is started again. Under `torchrun "
        "--nproc_per_node N -m hf_handdiff evaluate ...` (or accelerate launch -m) N processes share the images.",
    )
    parser.add_argument("--data", required=True, metavar="PATH_OR_REPO", help="Parquet folder, or Hub id")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--split", default="test", metavar="NAME", help="(default: test)")
    parser.add_argument("--num-samples", type=whole_number(1), metavar="S", help="first S images (default: all)")
    parser.add_argument(
        "--num-hypotheses",
        type=whole_number(1),
        default=NUM_HYPOTHESES,
        metavar="N",
        help="hands an image (default: %(default)s)",
    )
    parser.add_argument("--aggregation", choices=AGGREGATIONS, default=DEFAULT_AGGREGATION)
    parser.add_argument("--batch-size", type=whole_number(1), default=8, metavar="B", help="(default: 8)")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S", help="(default: 0)")
    parser.add_argument(
        "--true-keypoints",
        action="store_true",
        help="give the true 2D keypoints to the pipeline, to see what the lifting alone can do",
    )
    parser.add_argument("--streaming", action="store_true", help="read the data as a stream")
    parser.add_argument(
        "--write-calibration",
        action="store_true",
        help="keep the fitted calibration of joint_std in the checkpoint folder; for validation data only",
    )
    parser.add_argument(
        "--baseline",
        choices=("mediapipe",),
        help="also run MediaPipe's hand landmarks on the same images and print both (needs the extra [mediapipe])",
    )
    parser.add_argument(
        "--pictures",
        type=whole_number(0),
        default=6,
        metavar="K",
        help="overlays of the K best and the K worst hands (default: 6)",
    )
    add_pipeline_arguments(parser)
    parser.set_defaults(run=run_evaluate)


# -- a checkpoint as a predictor ---------------------------------------------------------------------------


def data_digest(data: str) -> str:
    """Name of a data set; of a folder with a digest of its shards' names and sizes."""
    folder = Path(data)
    if not folder.is_dir():
        return data
    shards = [(path.name, path.stat().st_size) for path in sorted(folder.glob("*.parquet"))]
    return f"{folder.name} shards:{hashlib.sha256(repr(shards).encode()).hexdigest()[:16]}"


def pipeline_predictor(
    pipeline: Any, num_hypotheses: int, aggregation: str, true_keypoints: bool, **options: Any
) -> Predictor:
    """A `CascadedHandPipeline` as the protocol calls it.

    Args:
        pipeline: the pipeline.
        num_hypotheses: N.
        aggregation: of the one answer.
        true_keypoints: the pipeline gets the true 2D keypoints instead of its own estimate.
        options: further keyword arguments of the pipeline.
    """

    def predict(batch: HandBatch) -> Prediction:
        return pipeline(
            batch.images,
            intrinsics=batch.intrinsics_px.numpy(),
            keypoints_2d=batch.keypoints_px.numpy() if true_keypoints else None,
            num_hypotheses=num_hypotheses,
            aggregation=aggregation,
            generator=batch.seeds,
            output_type="pt",
            **options,
        )

    return predict


# -- evaluate ----------------------------------------------------------------------------------------------


def run_evaluate(arguments: argparse.Namespace) -> int:
    """`handdiff evaluate`: returns the exit status, 1 if some predictions were not finite."""
    from hf_handdiff.evaluation.processes import join_processes

    with join_processes() as share:
        return _evaluate_share(arguments, share)


def _evaluate_share(arguments: argparse.Namespace, share: ProcessShare) -> int:
    """Measure the chunks of this process; the first process also joins and reports."""
    from hf_handdiff import DEFAULT_CHECKPOINT
    from hf_handdiff.cli.loading import load_pipeline
    from hf_handdiff.evaluation import official, plots, protocol, report
    from hf_handdiff.evaluation.measures import PA_JOINT_ERROR
    from hf_handdiff.evaluation.prior import sample_prior_baseline
    from hf_handdiff.evaluation.summary import summarise
    from hf_handdiff.evaluation.true_mesh import hand_of_pipeline, mesh_of_data
    from hf_handdiff.files import make_writable_folder

    dataset, made_by = _load_data(arguments)
    layout = official.official_layout(made_by)
    baseline = _load_baseline(arguments.baseline)  # before the work: it may not be installed
    checkpoint = arguments.checkpoint or DEFAULT_CHECKPOINT
    options = pipeline_options(arguments)
    pipeline = load_pipeline(checkpoint, arguments.device or share.device, arguments.hand_model)
    predict = pipeline_predictor(
        pipeline, arguments.num_hypotheses, arguments.aggregation, arguments.true_keypoints, **options
    )
    layer = hand_of_pipeline(pipeline)
    settings = _settings(arguments, checkpoint, options, pipeline, mesh_of_data(dataset, made_by, layer))
    make_writable_folder(arguments.out)
    out = Path(arguments.out)
    run = {"num_samples": arguments.num_samples, "batch_size": arguments.batch_size}
    scores = protocol.run_protocol(
        predict, dataset, settings, out, prior=sample_prior_baseline(layer), answers_for=layout, share=share, **run
    )
    if not share.is_main:
        return 0
    written = [] if layout is None else _write_answer(out, len(scores), layout, settings, made_by)
    if PA_JOINT_ERROR not in scores:
        print(f"only predictions were written: {made_by['data_set']} has no published truth in {arguments.data}")
        if baseline is not None:
            print("--baseline was not run: there is no truth to compare by")
        print("written: " + ", ".join(map(str, written)))
        return 0
    results = summarise(scores, settings, _calibrated_regions(pipeline))
    if layout is not None:
        results["official"] = _official_results(out, len(scores), layout, settings, made_by)
    if baseline is not None:  # by the first process alone: it takes some 20 ms an image
        results["baseline"] = _run_baseline(baseline, dataset, scores, settings, out, run)
    drawn = plots.write_plots(results, out)
    written += [*report.write_report(results, out, drawn), *drawn]
    print(report.render_report(results))
    kept_in = checkpoint if arguments.write_calibration else None
    written += _keep_calibration(scores, out, kept_in, arguments.aggregation)
    written += draw_sheets(predict, dataset, scores, settings.seed, out, arguments.pictures)
    print("written: " + ", ".join(map(str, written)))
    return 1 if results["num_failed"] else 0


def _calibrated_regions(pipeline: Any) -> Tensor | None:
    """The regions of the checkpoint's own calibration of `joint_std`; None where it has none."""
    from hf_handdiff.evaluation.calibration import JointStdCalibration

    kept = pipeline.config.get("joint_std_calibration")
    return JointStdCalibration.from_dict(kept).regions if kept else None


def _load_data(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The data set, and what is written beside it of how it was made."""
    from hf_handdiff.data.corpus import load_corpus, read_settings
    from hf_handdiff.errors import InputError
    from hf_handdiff.evaluation.batches import REQUIRED_COLUMNS

    try:
        dataset = load_corpus(arguments.data, arguments.split, arguments.streaming, columns=REQUIRED_COLUMNS)
    except (OSError, ValueError) as error:
        raise InputError(f"--data: {error}") from error
    return dataset, read_settings(arguments.data, arguments.split)


def _load_baseline(name: str | None) -> Any:
    if name is None:
        return None
    from hf_handdiff.evaluation.baselines import load_baseline

    return load_baseline(name)


def _file_name_and_digest(path: str) -> str:
    content = Path(path).read_bytes()
    return f"{Path(path).name} {hashlib.sha256(content).hexdigest()[:8]}"


def _settings(
    arguments: argparse.Namespace, checkpoint: str, options: dict[str, Any], pipeline: Any, true_mesh: str | None
) -> EvaluationSettings:
    from hf_handdiff.evaluation.settings import EvaluationSettings
    from hf_handdiff.evaluation.true_mesh import mesh_of_pipeline

    shown = {**options, "aggregation": arguments.aggregation}
    shown["true_keypoints"] = arguments.true_keypoints or None
    shown["hand"] = arguments.hand_model and _file_name_and_digest(arguments.hand_model)
    return EvaluationSettings(
        predictor=checkpoint_digest(checkpoint),
        data=data_digest(arguments.data),
        split=arguments.split,
        num_hypotheses=arguments.num_hypotheses,
        seed=arguments.seed,
        options=", ".join(f"{name} {value}" for name, value in shown.items() if value is not None),
        predicted_mesh=mesh_of_pipeline(pipeline),
        true_mesh=true_mesh,
    )


def _write_answer(
    out: Path, num_samples: int, layout: OfficialLayout, settings: EvaluationSettings, made_by: dict[str, Any]
) -> list[Path]:
    """pred.json and pred.zip; says what is wrong with them as an official answer."""
    from hf_handdiff.evaluation.official import write_official_answer
    from hf_handdiff.evaluation.protocol import read_answers

    written = write_official_answer(lambda: read_answers(out, num_samples), layout, out)
    failed = sum(int(part.failed.sum()) for part in read_answers(out, num_samples))
    expected = made_by.get("num_samples", num_samples)
    if num_samples < expected:
        print(f"pred.json: holds {num_samples} of the {expected} images of the split: this is no whole official answer")
    if failed:
        print(f"pred.json: {failed} predictions were not finite, all their points are put at the wrist")
    if not settings.same_vertices:
        print(
            f"pred.json: its meshes are the {settings.predicted_mesh}'s, not MANO's; the official script takes them "
            "for MANO's, so that its mesh errors and aligned F-scores mean nothing: those of the joints hold"
        )
    return list(written)


def _official_results(
    out: Path, num_samples: int, layout: OfficialLayout, settings: EvaluationSettings, made_by: dict[str, Any]
) -> OfficialResults:
    from hf_handdiff.evaluation.official import score_answers
    from hf_handdiff.evaluation.protocol import read_answers

    return {
        "data_set": made_by["data_set"],
        "num_images": num_samples,
        "num_images_of_split": made_by.get("num_samples", num_samples),
        "root": "the wrist is the data set's" if layout.root_is_given else "the wrist is the predicted translation",
        "same_vertices": settings.same_vertices,
        "scores": score_answers(read_answers(out, num_samples), layout, settings.same_vertices),
    }


def _run_baseline(
    baseline: Any, dataset: Any, scores: Scores, settings: EvaluationSettings, out: Path, run: dict[str, Any]
) -> BaselineResults:
    """Evaluate the baseline in a folder of its own, and put it beside the checkpoint."""
    from dataclasses import replace

    from hf_handdiff.errors import InputError
    from hf_handdiff.evaluation import protocol
    from hf_handdiff.evaluation.summary import compare_with_baseline, summarise

    alone = replace(settings, predictor=baseline.name, num_hypotheses=1, options="", predicted_mesh=None)
    baseline_scores = protocol.run_protocol(baseline, dataset, alone, out / "baseline", **run)
    baseline.close()
    compared = compare_with_baseline(scores, baseline_scores, baseline.name)
    try:
        results = summarise(baseline_scores, alone)
    except InputError:  # it found no hand at all
        return compared
    return compared | {name: results[name] for name in ("accuracy", "keypoints_2d", "hand_score", "num_failed")}


def _keep_calibration(scores: Scores, out: Path, checkpoint: str | None, aggregation: str) -> list[Path]:
    """Fit the calibration to this run's data and write it; where it is wanted, also into the checkpoint."""
    import torch

    from hf_handdiff.errors import InputError
    from hf_handdiff.evaluation.calibration import fit_joint_std, write_calibration
    from hf_handdiff.evaluation.groups import MOSTLY_HIDDEN
    from hf_handdiff.evaluation.measures import DISTRIBUTION, JOINT_ERROR, KEYPOINT_SCORE
    from hf_handdiff.files import replace_file

    hands = scores.select(scores.has_hand)
    try:
        seen = hands[KEYPOINT_SCORE] if KEYPOINT_SCORE in hands else None
        hidden = torch.from_numpy(hands.visible_share < MOSTLY_HIDDEN)
        calibration = fit_joint_std(hands[DISTRIBUTION["stage2"].spread], hands[JOINT_ERROR], seen, hidden)
    except InputError:  # a handful of samples: nothing to fit
        if checkpoint is not None:
            raise
        return []
    path = out / "calibration.json"
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(calibration.to_dict(), indent=2) + "\n")
    floor_mm = 1000 * float(calibration.floor[1:].mean())
    scale = float(calibration.scale[1:].mean())
    print(f"calibration fitted to this data: scale {scale:.2f}, floor {floor_mm:.1f} mm")
    return [path] if checkpoint is None else [path, write_calibration(checkpoint, calibration, aggregation)]


def draw_sheets(predict: Predictor, dataset: Any, scores: Scores, seed: int, out: Path, count: int) -> list[Path]:
    """Overlays of the `count` best and worst hands by PA-MPJPE, predicted once more with their own seeds."""
    import numpy as np

    from hf_handdiff.evaluation.batches import collate
    from hf_handdiff.evaluation.measures import PA_JOINT_ERROR
    from hf_handdiff.evaluation.row_reading import RowReader
    from hf_handdiff.files import replace_file
    from hf_handdiff.viz import contact_sheet, draw_prediction

    errors = scores[PA_JOINT_ERROR].mean(dim=1).numpy()
    order = [sample for sample in np.argsort(errors) if np.isfinite(errors[sample])]
    sheets = {"best": order[:count], "worst": order[::-1][:count]}
    reader, rows = RowReader(dataset), {}
    for index in sorted({int(scores.index[sample]) for chosen in sheets.values() for sample in chosen}):
        rows[index] = list(reader.rows(index, index + 1))  # in order: a stream is read once
    written = []
    for name, chosen in sheets.items():
        if not chosen:
            continue
        pictures, labels = [], []
        for sample in chosen:
            index = int(scores.index[sample])
            batch = collate(rows[index], index, seed)
            picture = draw_prediction(
                batch.images[0], predict(batch), intrinsics=batch.intrinsics_px[0].numpy(), panel=300
            )
            pictures.append(picture)
            share = scores.visible_share[sample]
            labels.append(f"{batch.sample_ids[0]}: PA-MPJPE {1000 * errors[sample]:.1f} mm, visible share {share:.2f}")
        path = out / f"{name}.jpg"
        with replace_file(path) as temporary:
            contact_sheet(pictures, columns=1, labels=labels).save(temporary, quality=88)
        written.append(path)
    return written
