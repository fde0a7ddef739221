"""The command `handdiff`: its parser, and errors as one line. Each subcommand is a module of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hf_handdiff import __version__
from hf_handdiff.errors import InputError

STOPPED = 130
"""Exit status of what Ctrl-C has stopped: 128 and the number of the signal, as shells have it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `handdiff`; return the exit status: 0 done, 1 something failed, 2 wrong usage, 130 stopped by Ctrl-C."""
    try:
        arguments = build_parser().parse_args(argv)
        return arguments.run(arguments)
    except InputError as error:
        print(f"handdiff: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("handdiff: stopped by Ctrl-C", file=sys.stderr)
        return STOPPED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command and its subcommands; each sets `run`, arguments -> exit status."""
    from hf_handdiff.cli.benchmark import add_benchmark_parser
    from hf_handdiff.cli.data import add_data_parser
    from hf_handdiff.cli.evaluate import add_evaluate_parser
    from hf_handdiff.cli.export import add_export_parser
    from hf_handdiff.cli.export_rig import add_export_rig_parser
    from hf_handdiff.cli.predict.command import add_predict_parser
    from hf_handdiff.cli.push import add_push_parser
    from hf_handdiff.cli.stream import add_stream_parser

    parser = argparse.ArgumentParser(
        prog="handdiff", description="From one photo of a hand to a distribution of 3D hand meshes."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_predict_parser(subparsers)
    add_stream_parser(subparsers)
    add_data_parser(subparsers)
    add_evaluate_parser(subparsers)
    add_benchmark_parser(subparsers)
    add_export_parser(subparsers)
    add_export_rig_parser(subparsers)
    add_push_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
