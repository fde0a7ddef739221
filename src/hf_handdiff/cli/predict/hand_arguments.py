"""Arguments that `handdiff predict` and `handdiff stream` have. Nothing heavy is imported."""

from __future__ import annotations

import argparse

from hf_handdiff.cli.arguments import checked, whole_number
from hf_handdiff.cli.predict.settings import check_intrinsics
from hf_handdiff.pipelines.defaults import AGGREGATIONS


def add_intrinsics_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--intrinsics`."""
    parser.add_argument(
        "--intrinsics",
        type=checked(check_intrinsics),
        metavar="fx,fy,cx,cy",
        help="the camera in px; adds the hand's place in the camera frame",
    )


def add_detect_every_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--detect-every`."""
    parser.add_argument(
        "--detect-every",
        type=whole_number(1),
        metavar="K",
        help="frames between two looks of the detector while no hand is missing (default: %(default)s)",
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what decides the hypotheses and the answer; names and defaults of `PredictionSettings`."""
    parser.add_argument(
        "--num-hypotheses",
        type=whole_number(1),
        metavar="N",
        help="hands to draw from the distribution (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="S",
        help="the same seed gives the same answer (default: %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=whole_number(1),
        metavar="N",
        help="denoising steps of the joints (default: the checkpoint's)",
    )
    parser.add_argument(
        "--mesh-steps",
        type=whole_number(1),
        metavar="N",
        help="denoising steps of the meshes (default: the checkpoint's)",
    )
    parser.add_argument(
        "--aggregation",
        choices=AGGREGATIONS,
        help="how the hypotheses become one answer (default: %(default)s)",
    )
