"""The commands that turn official downloads into corpora: `handdiff data freihand` and `handdiff data ho3d`."""

from __future__ import annotations

import argparse

_COMMON = """\
The corpus is Parquet in the schema of all our corpora: 21 joints in FreiHAND's order, OpenCV camera axes, metres.
Rows keep the official order, and sample_id names the official file. What a data set does not tell is NaN; that
something hides a joint is annotated in neither, so keypoints_visible only says which joints lie inside the image.
Meshes are MANO's, with other vertices than those of the open hand of this package. A run that was stopped is
carried on by the same command. {split}-skipped.json names the samples that were left out, and why.
"""

_FREIHAND = f"""\
Turn the official FreiHAND download (FreiHAND_pub_v2, and FreiHAND_pub_v2_eval for the truth of the evaluation
split) into a corpus. Images are kept byte for byte.

{_COMMON}
Meshes: those of training_verts.json and evaluation_verts.json; without them, those of *_mano.json by --mano; else
NaN. Poses: relative to the flat hand, which takes MANO's mean pose and so --mano. Without evaluation_xyz.json the
evaluation split has no joints: `handdiff evaluate` then writes the official pred.json, but measures nothing.
"""

_HO3D = f"""\
Turn the official HO3D download into a corpus. Rows are square crops round the hand, kept as JPEG of quality 95:
round the joints in the train split, round the official box in the evaluation split.

{_COMMON}
Meshes of the train split take --mano, else they are NaN. The truth of the evaluation split is read from
evaluation_xyz.json and evaluation_verts.json beside evaluation.txt; without it only the wrist is known, and
`handdiff evaluate` writes the official pred.json, but measures nothing. Frames without
annotation are left out and counted.
"""


def add_freihand_parser(subparsers) -> None:
    """Add `freihand` to the subparsers of `handdiff data`; sets `run`, arguments -> exit status."""
    parser = _add_parser(subparsers, "freihand", "turn the official FreiHAND download into a corpus", _FREIHAND)
    parser.add_argument(
        "--versions",
        type=int,
        nargs="+",
        choices=range(4),
        default=[0, 1, 2, 3],
        metavar="V",
        help="of the training images: 0 green screen, 1 to 3 other backgrounds (default: all)",
    )
    parser.set_defaults(run=run_freihand)


def add_ho3d_parser(subparsers) -> None:
    """Add `ho3d` to the subparsers of `handdiff data`; sets `run`, arguments -> exit status."""
    parser = _add_parser(subparsers, "ho3d", "turn the official HO3D download into a corpus", _HO3D)
    parser.add_argument("--version", required=True, choices=("v2", "v3"), help="of HO3D")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="M",
        help="side of the crops over the longer side of the hand's box (default: 1.4, as `predict` does with boxes; "
        "to train with augmentation, 2 leaves room round the hand)",
    )
    parser.add_argument("--crop-size", type=_positive, default=224, metavar="PX", help="(default: %(default)s)")
    parser.set_defaults(run=run_ho3d)


def _add_parser(subparsers, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, metavar="DIR", help="folder of the download")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the corpus; made if missing")
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=("train", "evaluation"),
        default=["train", "evaluation"],
        help="(default: both)",
    )
    parser.add_argument(
        "--mano", metavar="FILE", help="your MANO_RIGHT.pkl, for meshes and poses; nothing in it is run"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave samples with missing or damaged files out, and count them"
    )
    parser.add_argument(
        "--num-workers",
        type=_positive,
        default=1,
        metavar="W",
        help="threads; the result does not depend on it (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return value


def run_freihand(arguments: argparse.Namespace) -> int:
    """`handdiff data freihand`: returns the exit status."""
    from hf_handdiff.data.freihand import import_freihand

    return _run(import_freihand, arguments, versions=arguments.versions)


def run_ho3d(arguments: argparse.Namespace) -> int:
    """`handdiff data ho3d`: returns the exit status."""
    from hf_handdiff.camera import BOX_MARGIN
    from hf_handdiff.data.ho3d import import_ho3d

    margin = BOX_MARGIN if arguments.margin is None else arguments.margin
    return _run(import_ho3d, arguments, version=arguments.version, margin=margin, crop_size=arguments.crop_size)


def _run(importer, arguments: argparse.Namespace, **options) -> int:
    from hf_handdiff.errors import InputError

    try:
        reports = importer(
            arguments.root,
            arguments.out,
            splits=list(dict.fromkeys(arguments.splits)),
            mano=arguments.mano,
            skip_bad=arguments.skip_bad,
            num_workers=arguments.num_workers,
            progress=not arguments.quiet,
            **options,
        )
    except OSError as error:  # no room, no permission
        raise InputError(f"out: {error}") from error
    for report in reports:
        print(report)
    print(f"written: {arguments.out}")
    return 0
