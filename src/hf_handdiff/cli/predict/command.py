"""The arguments of `handdiff predict`. Heavy modules load when it runs, not for its help."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from hf_handdiff.cli.arguments import (
    DETECTORS,
    add_checkpoint_argument,
    add_device_argument,
    add_hand_argument,
    checked,
    whole_number,
)
from hf_handdiff.cli.predict.hand_arguments import (
    add_detect_every_argument,
    add_intrinsics_argument,
    add_sampling_arguments,
)
from hf_handdiff.cli.predict.settings import (
    PredictionSettings,
    check_box,
    check_hand_length,
    check_wrist_depth,
    check_writable,
    load_boxes,
)

_DESCRIPTION = """\
Predict the hands of images. For each image NAME it writes NAME.json (joints, meshes and their expected error, in
metres), NAME.glb (the answer, a mesh with bones, and the hypotheses as meshes) and NAME.png (what was found, drawn on
the photo). For each video NAME (extra [video]) it follows the hands and writes NAME.jsonl (a line a frame: each hand's
joints, smoothed over time), NAME.mp4 (the hands, drawn) and NAME.glb (the hands with bones that move). Started by
torchrun --nproc_per_node N -m hf_handdiff predict ..., N processes share the files.
"""


def add_predict_parser(subparsers) -> None:
    """Add `predict` to the subparsers of `handdiff`; sets `run`, arguments -> exit status."""
    parser = subparsers.add_parser(
        "predict", help="predict the hands of images, videos and folders of them", description=_DESCRIPTION
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, videos, or folders of them")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder of the results")
    add_checkpoint_argument(parser)
    _add_hand_arguments(parser)
    _add_sampling_arguments(parser)
    parser.add_argument(
        "--scene",
        action="store_true",
        help="images: also write NAME_scene.glb and NAME_scene.json, all hands in one camera frame, of one length, and "
        "apart where they ran into each other; the hands are found (--detector builtin) unless a box is given; without "
        "--intrinsics the photo's diagonal is taken to span 60 degrees",
    )
    parser.add_argument(
        "--save-vertices",
        action="store_true",
        help="also write NAME.npz with every array, all vertices included",
    )
    parser.add_argument(
        "--write",
        type=checked(check_writable),
        metavar="json,glb,png",
        help="images: what is written for each hand, such as json alone, the quickest (default: all three)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave out the files that an earlier run into DIR has done with the same settings",
    )
    _add_video_arguments(parser)
    add_device_argument(parser)
    defaults = {field.name: field.default for field in fields(PredictionSettings) if field.name != "out"}
    parser.set_defaults(**defaults, run=run_predict, usage_error=parser.error)


def _add_hand_arguments(parser: argparse.ArgumentParser) -> None:
    """Which hands there are, and the camera."""
    add_hand_argument(parser, with_side=True)
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--box",
        type=checked(check_box),
        metavar="x0,y0,x1,y1",
        help="box around the hand in px (default: the image shows the hand and little else)",
    )
    place.add_argument(
        "--boxes",
        type=checked(load_boxes),
        metavar="FILE.json",
        help="JSON object that maps image names to boxes [x0, y0, x1, y1] or null",
    )
    place.add_argument(
        "--detector",
        choices=DETECTORS,
        help="find the hands and their sides; several in one image become NAME_0, NAME_1, ... (mediapipe needs "
        "the extra [mediapipe])",
    )
    parser.add_argument(
        "--detector-keypoints",
        action="store_true",
        help="use the detector's 2D keypoints instead of the built-in estimate (needs --detector)",
    )
    add_intrinsics_argument(parser)
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--hand-length",
        type=checked(check_hand_length),
        metavar="M",
        help="length of the flat hand in m, from the wrist joint to the tip of the middle finger; sets the metric size",
    )
    size.add_argument(
        "--wrist-depth",
        type=checked(check_wrist_depth),
        metavar="M",
        help="images: distance of the wrist from the camera in m, along its axis (best with --intrinsics); sets the "
        "metric size instead",
    )


def _add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    add_sampling_arguments(parser)
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        metavar="N",
        help="hands a batch of images (default: 8 on a GPU, 1 on a CPU)",
    )


def _add_video_arguments(parser: argparse.ArgumentParser) -> None:
    add_detect_every_argument(parser)
    parser.add_argument(
        "--lookahead",
        type=whole_number(0),
        metavar="L",
        help="videos: frames after it that the answer for a frame looks at; 0 is a plain filter (default: %(default)s)",
    )


def run_predict(arguments: argparse.Namespace) -> int:
    """`handdiff predict`: returns the exit status, 1 if a file failed."""
    from hf_handdiff.cli.predict.run import predict_files
    from hf_handdiff.evaluation.processes import join_processes

    if arguments.detector_keypoints and arguments.detector is None:
        arguments.usage_error("argument --detector-keypoints: expected only together with --detector")
    if arguments.scene and arguments.wrist_depth is not None:
        arguments.usage_error("argument --scene: expected without --wrist-depth, each hand has a depth of its own")
    if arguments.scene and arguments.box is None and arguments.boxes is None:
        arguments.detector = arguments.detector or "builtin"
    asked = {field.name: getattr(arguments, field.name) for field in fields(PredictionSettings)}
    with join_processes() as share:
        settings = PredictionSettings(**{**asked, "device": arguments.device or share.device})
        failed, files = predict_files(arguments.images, settings, share)
    if failed and files > 1:
        print(f"handdiff: {failed} of {files} images failed", file=sys.stderr)
    return 1 if failed else 0
