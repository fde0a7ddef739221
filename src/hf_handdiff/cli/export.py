"""`handdiff export`: arguments and what runs. Heavy modules load when the command runs, not for its help."""

from __future__ import annotations

import argparse

from hf_handdiff.cli.arguments import add_checkpoint_argument


def add_export_parser(subparsers) -> None:
    """Add `export` to the subparsers of `handdiff`; sets `run`, arguments -> exit status."""
    parser = subparsers.add_parser(
        "export",
        help="write the networks as ONNX files",
        description="Write the four networks of a checkpoint as ONNX files, which take any number of hands at a time, "
        "and onnx.json, which names their inputs and outputs with shapes and units (needs the extra [onnx]). The "
        "denoising loop between them is not in the files: it is pipelines/sampling.py of the package.",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the files")
    add_checkpoint_argument(parser)
    parser.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """`handdiff export`: returns the exit status."""
    from hf_handdiff import DEFAULT_CHECKPOINT
    from hf_handdiff.cli.loading import load_pipeline
    from hf_handdiff.cli.pipeline_arguments import checkpoint_digest
    from hf_handdiff.export.onnx_files import export_pipeline

    checkpoint = arguments.checkpoint or DEFAULT_CHECKPOINT
    pipeline = load_pipeline(checkpoint, "cpu", needs_hand=False)
    for path in export_pipeline(pipeline, arguments.out, checkpoint_digest(checkpoint)):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    return 0
