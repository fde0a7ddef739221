"""The command that makes a synthetic corpus."""

import argparse
import sys

DESCRIPTION = """\
Make a synthetic hand corpus: rendered crops with 2D and 3D joints, mesh, camera and visibility, as Parquet.

Sample i depends on the seed, the split and i alone. A run that was stopped is carried on by the same command.
Splits share no random stream, light environment, hand shape or recorded signer. When all shards of a split are
there, the folder gets its dataset card (README.md) with a contact sheet and histograms.

An array job gives each of its tasks a part of the shards: --shards 0:10, --shards 10:20, ...
"""


def build_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The arguments of the command, added to `parser` or to a new one."""
    if parser is None:
        parser = argparse.ArgumentParser(
            prog="python -m hf_handdiff.synthetic",
            description=DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the Parquet shards; made if missing")
    parser.add_argument("--num-samples", type=int, required=True, metavar="N", help="how many samples to make")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the corpus (default: %(default)s)")
    parser.add_argument(
        "--num-workers",
        type=int,
        default=1,
        metavar="W",
        help="processes of one thread each; the result does not depend on it (default: %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="train",
        help="whose lights, shapes and signers to use, and the name of the files (default: %(default)s)",
    )
    parser.add_argument(
        "--shards",
        type=shard_range,
        metavar="A:B",
        help="make only shards A to B - 1, as one task of an array job (default: all)",
    )
    parser.add_argument(
        "--shard-rows", type=int, default=1000, metavar="R", help="rows of a shard (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def shard_range(text: str) -> range:
    """`A:B`, or a single number, as the shards that it names."""
    start, colon, stop = text.partition(":")
    try:
        return range(int(start), int(stop) if colon else int(start) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected shards as A:B, such as 0:10, got {text!r}") from None


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return run(build_parser().parse_args(argv))


def run(args: argparse.Namespace) -> int:
    """Make the corpus that parsed `args` ask for; returns the exit status."""
    from hf_handdiff.synthetic.writer import write_corpus

    try:
        out = write_corpus(
            args.out,
            args.num_samples,
            args.seed,
            args.num_workers,
            args.split,
            shard_rows=args.shard_rows,
            shards=args.shards,
            progress=not args.quiet,
        )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    part = "" if args.shards is None else f", of them shards {args.shards.start}:{args.shards.stop}"
    print(f"{args.num_samples} samples{part}: {out}")
    return 0
