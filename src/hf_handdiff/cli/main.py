"""The command `handdiff`. Heavy modules are loaded by the subcommands, so that `--help` is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_handdiff import __version__
from hf_handdiff.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `handdiff`; return the exit status: 0 done, 1 something failed, 2 wrong usage."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except InputError as error:
        print(f"handdiff: error: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command and its subcommands; each sets `run`, arguments -> exit status."""
    from hf_handdiff.cli.benchmark import add_benchmark_parser
    from hf_handdiff.cli.evaluate import add_evaluate_parser
    from hf_handdiff.cli.export import add_export_parser
    from hf_handdiff.cli.push import add_push_parser

    parser = argparse.ArgumentParser(
        prog="handdiff", description="From one photo of a hand to a distribution of 3D hand meshes."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_predict_parser(subparsers)
    _add_data_parser(subparsers)
    add_evaluate_parser(subparsers)
    add_benchmark_parser(subparsers)
    add_export_parser(subparsers)
    add_push_parser(subparsers)
    return parser


# ------------------------------------------------------------------------------------------------ predict


def _add_predict_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "predict",
        help="predict the hands of images, videos and folders of them",
        description="Predict the hands of images. For each image NAME it writes NAME.json (joints, meshes "
        "and their expected error, in metres), NAME.glb (the answer and the hypotheses as "
        "meshes) and NAME.png (what was found, drawn on the photo). For each video NAME (extra [video]) it follows "
        "the hands and writes NAME.jsonl (a line a frame: each hand's joints, smoothed over time) and NAME.mp4 (the "
        "hands, drawn). Started by torchrun --nproc_per_node N -m hf_handdiff predict ..., N processes share the "
        "files.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, videos, or folders of them")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--hand",
        choices=("left", "right"),
        help="which hand it is (default: what the detector says, else right)",
    )
    parser.add_argument(
        "--num-hypotheses",
        type=_positive_int,
        default=20,
        metavar="N",
        help="hands to draw from the distribution (default: 20)",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="S", help="the same seed gives the same answer (default: 0)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="PATH_OR_REPO",
        help="checkpoint folder or Hub repository (default: the one in the package)",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--box",
        type=_box,
        metavar="x0,y0,x1,y1",
        help="box around the hand in px (default: the image shows the hand and little else)",
    )
    place.add_argument(
        "--boxes",
        type=_boxes_file,
        metavar="FILE.json",
        help="JSON object that maps image names to boxes [x0, y0, x1, y1] or null",
    )
    place.add_argument(
        "--detector",
        choices=("builtin", "mediapipe"),
        help="find the hands and their sides; several in one image become NAME_0, NAME_1, ... (mediapipe needs "
        "the extra [mediapipe])",
    )
    parser.add_argument(
        "--detector-keypoints",
        action="store_true",
        help="use the detector's 2D keypoints instead of the built-in estimate (needs --detector)",
    )
    parser.add_argument(
        "--intrinsics",
        type=_intrinsics,
        metavar="fx,fy,cx,cy",
        help="the camera in px; adds the hand's place in the camera frame",
    )
    parser.add_argument(
        "--steps",
        type=_positive_int,
        metavar="N",
        help="denoising steps of the joints (default: the checkpoint's)",
    )
    parser.add_argument(
        "--mesh-steps",
        type=_positive_int,
        metavar="N",
        help="denoising steps of the meshes (default: the checkpoint's)",
    )
    parser.add_argument(
        "--aggregation",
        choices=("mean", "median", "medoid", "aligned"),
        default="mean",
        help="how the hypotheses become one answer (default: mean)",
    )
    parser.add_argument(
        "--save-vertices",
        action="store_true",
        help="also write NAME.npz with every array, all vertices included",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave out the files that an earlier run into DIR has done with the same settings",
    )
    parser.add_argument(
        "--batch-size",
        type=_positive_int,
        metavar="N",
        help="hands a batch of images (default: 8 on a GPU, 1 on a CPU)",
    )
    parser.add_argument(
        "--detect-every",
        type=_positive_int,
        default=15,
        metavar="K",
        help="videos: frames between two looks of the detector while no hand is missing (default: 15)",
    )
    parser.add_argument(
        "--lookahead",
        type=_seed,
        default=4,
        metavar="L",
        help="videos: frames after it that the answer for a frame looks at; 0 is a plain filter (default: 4)",
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.set_defaults(run=_run_predict, usage_error=parser.error)


def _run_predict(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from hf_handdiff.cli.predict import PredictionSettings, predict_files
    from hf_handdiff.evaluation.processes import join_processes

    if arguments.detector_keypoints and arguments.detector is None:
        arguments.usage_error("argument --detector-keypoints: expected only together with --detector")
    settings = PredictionSettings(
        out=Path(arguments.out),
        checkpoint=arguments.checkpoint,
        hand=arguments.hand,
        box=arguments.box,
        boxes=arguments.boxes,
        detector=arguments.detector,
        detector_keypoints=arguments.detector_keypoints,
        intrinsics=arguments.intrinsics,
        num_hypotheses=arguments.num_hypotheses,
        seed=arguments.seed,
        steps=arguments.steps,
        mesh_steps=arguments.mesh_steps,
        aggregation=arguments.aggregation,
        save_vertices=arguments.save_vertices,
        device=arguments.device,
        batch_size=arguments.batch_size,
        resume=arguments.resume,
        detect_every=arguments.detect_every,
        lookahead=arguments.lookahead,
    )
    with join_processes() as share:
        settings = replace(settings, device=arguments.device or share.device)
        failed, files = predict_files(arguments.images, settings, share)
    if failed and files > 1:
        print(f"handdiff: {failed} of {files} images failed", file=sys.stderr)
    return 1 if failed else 0


# ------------------------------------------------------------------------------------------------ data


def _add_data_parser(subparsers) -> None:
    from hf_handdiff.cli.data import add_freihand_parser, add_ho3d_parser
    from hf_handdiff.cli.data_synthetic import DESCRIPTION, build_parser, run

    parser = subparsers.add_parser("data", help="make data sets, or turn downloaded ones into ours")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    synthetic = commands.add_parser("synthetic", help="render a corpus of hands", description=DESCRIPTION)
    build_parser(synthetic)
    synthetic.set_defaults(run=run)
    add_freihand_parser(commands)
    add_ho3d_parser(commands)


# ------------------------------------------------------------------------------------------------ types


def _positive_int(text: str) -> int:
    value = _whole_number(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return value


def _seed(text: str) -> int:
    value = _whole_number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got '{text}'")
    return value


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got '{text}'") from None


def _box(text: str) -> tuple[float, ...]:
    from hf_handdiff.cli.predict import check_box

    return _checked(lambda: check_box(text.split(","), "box"))


def _boxes_file(text: str):
    from hf_handdiff.cli.predict import load_boxes

    return _checked(lambda: load_boxes(text))


def _intrinsics(text: str) -> tuple[float, ...]:
    from hf_handdiff.cli.predict import check_intrinsics

    return _checked(lambda: check_intrinsics(text.split(","), "intrinsics"))


def _checked(check):
    try:
        return check()
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
