"""`handdiff data`: renders (`synthetic`), or turns an official download into a corpus (`freihand`, `ho3d`)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from hf_handdiff.cli.arguments import whole_number
from hf_handdiff.errors import InputError

_SHARD_ROWS = 1000

_SYNTHETIC = """\
Make a synthetic hand corpus: rendered crops with 2D and 3D joints, mesh, camera and visibility, as Parquet.

Sample i depends on the seed, the split and i alone. A run that was stopped is carried on by the same command.
Splits share no random stream, light environment, hand shape or recorded signer. When all shards of a split are
there, the folder gets its dataset card (README.md) with a contact sheet and histograms.

An array job gives each of its tasks a part of the shards: --shards 0:10, --shards 10:20, ...

--layout writes renders in the layout of FreiHAND or HO3D instead, with the open hand as MANO_RIGHT.pkl, to run and
verify what was made for those data sets without them. Every image shows a hand. FreiHAND's training images are four
versions of N / 4 hands.
"""

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


def add_data_parser(subparsers) -> None:
    """Add `data` to the subparsers of `handdiff`; its own ones set `run`, arguments -> exit status."""
    parser = subparsers.add_parser("data", help="make data sets, or turn downloaded ones into ours")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_synthetic_parser(commands)
    _add_freihand_parser(commands)
    _add_ho3d_parser(commands)


def _add_synthetic_parser(subparsers) -> None:
    parser = _add_parser(subparsers, "synthetic", "render a corpus of hands", _SYNTHETIC)
    parser.add_argument(
        "--num-samples", type=whole_number(1), required=True, metavar="N", help="how many samples to make"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="S", help="seed of the corpus (default: %(default)s)"
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        help="whose lights, shapes and signers to use, and the name of the files (default: train)",
    )
    parser.add_argument(
        "--shards",
        type=shard_range,
        metavar="A:B",
        help="make only shards A to B - 1, as one task of an array job (default: all)",
    )
    parser.add_argument(
        "--shard-rows", type=whole_number(1), metavar="R", help=f"rows of a shard (default: {_SHARD_ROWS})"
    )
    parser.add_argument(
        "--layout",
        choices=("corpus", "freihand", "ho3d"),
        default="corpus",
        help="of what is written: a corpus, or a tree of another data set (default: %(default)s)",
    )
    parser.add_argument(
        "--evaluation-samples",
        type=whole_number(1),
        metavar="M",
        help="images of the tree's evaluation split; --num-samples are those of its training split",
    )
    parser.add_argument("--ho3d-version", choices=("v2", "v3"), help="whose layout --layout ho3d has (default: v3)")
    _add_worker_arguments(parser, "processes of one thread each")
    parser.set_defaults(run=run_synthetic)


def _add_freihand_parser(subparsers) -> None:
    parser = _add_import_parser(subparsers, "freihand", "turn the official FreiHAND download into a corpus", _FREIHAND)
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


def _add_ho3d_parser(subparsers) -> None:
    parser = _add_import_parser(subparsers, "ho3d", "turn the official HO3D download into a corpus", _HO3D)
    parser.add_argument("--version", required=True, choices=("v2", "v3"), help="of HO3D")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="M",
        help="side of the crops over the longer side of the hand's box (default: 1.4, as `predict` does with boxes; "
        "to train with augmentation, 2 leaves room round the hand)",
    )
    parser.add_argument("--crop-size", type=whole_number(1), default=224, metavar="PX", help="(default: %(default)s)")
    parser.set_defaults(run=run_ho3d)


def _add_import_parser(subparsers, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    parser = _add_parser(subparsers, name, summary, description)
    parser.add_argument("--root", required=True, metavar="DIR", help="folder of the download")
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
        "--validation-share",
        type=float,
        default=0.0,
        metavar="P",
        help="share of the training samples held out as split validation, with no hand (FreiHAND) or sequence (HO3D) "
        "in common with train (default: 0)",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave samples with missing or damaged files out, and count them"
    )
    _add_worker_arguments(parser, "threads")
    return parser


def _add_parser(subparsers, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the corpus; made if missing")
    return parser


def _add_worker_arguments(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--num-workers",
        type=whole_number(1),
        default=1,
        metavar="W",
        help=f"{what}; the result does not depend on it (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def shard_range(text: str) -> range:
    """`A:B`, or a single number, as the shards that it names."""
    start, colon, stop = text.partition(":")
    try:
        return range(int(start), int(stop) if colon else int(start) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected shards as A:B, such as 0:10, got {text!r}") from None


def run_synthetic(arguments: argparse.Namespace) -> int:
    """`handdiff data synthetic`: returns the exit status."""
    _check_layout_options(arguments)
    if arguments.layout != "corpus":
        return _run_tree(arguments)
    from hf_handdiff.synthetic import write_corpus

    with _one_sentence(ValueError, RuntimeError):
        out = write_corpus(
            arguments.out,
            arguments.num_samples,
            arguments.seed,
            arguments.num_workers,
            arguments.split or "train",
            shard_rows=arguments.shard_rows or _SHARD_ROWS,
            shards=arguments.shards,
            progress=not arguments.quiet,
        )
    shards = arguments.shards
    part = "" if shards is None else f", of them shards {shards.start}:{shards.stop}"
    print(f"{arguments.num_samples} samples{part}: {out}")
    return 0


def _check_layout_options(arguments: argparse.Namespace) -> None:
    """Refuse options that belong to another layout than the one that was asked for."""
    layout, is_tree = arguments.layout, arguments.layout != "corpus"
    for option in ("shards", "shard_rows", "split"):
        if is_tree and getattr(arguments, option) is not None:
            raise InputError(f"--{option.replace('_', '-')}: belongs to a corpus, not to --layout {layout}")
    if is_tree and arguments.evaluation_samples is None:
        raise InputError(f"--evaluation-samples: expected with --layout {layout}, which has an evaluation split")
    if not is_tree and arguments.evaluation_samples is not None:
        raise InputError("--evaluation-samples: belongs to --layout freihand or ho3d, not to a corpus")
    if layout != "ho3d" and arguments.ho3d_version is not None:
        raise InputError(f"--ho3d-version: belongs to --layout ho3d, not to {layout}")


def _run_tree(arguments: argparse.Namespace) -> int:
    from hf_handdiff.synthetic import FreihandTree, Ho3dTree, write_tree

    counts = arguments.num_samples, arguments.evaluation_samples, arguments.seed
    with _one_sentence(RuntimeError):
        layout = FreihandTree(*counts) if arguments.layout == "freihand" else None
        layout = layout or Ho3dTree(*counts, arguments.ho3d_version or "v3")
        out = write_tree(arguments.out, layout, arguments.num_workers, progress=not arguments.quiet)
    print(f"{layout.num_samples} training and {layout.evaluation_samples} evaluation images: {out}")
    return 0


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
    with _one_sentence():
        reports = importer(
            arguments.root,
            arguments.out,
            splits=list(dict.fromkeys(arguments.splits)),
            mano=arguments.mano,
            validation_share=arguments.validation_share,
            skip_bad=arguments.skip_bad,
            num_workers=arguments.num_workers,
            progress=not arguments.quiet,
            **options,
        )
    for report in reports:
        print(report)
    print(f"written: {arguments.out}")
    return 0


@contextmanager
def _one_sentence(*also: type[Exception]) -> Iterator[None]:
    """Within it, what goes wrong with a file, or is one of `also`, is raised as an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:  # no room, no permission
        raise InputError(f"out: {error}") from error
    except also as error:
        raise InputError(str(error)) from error
