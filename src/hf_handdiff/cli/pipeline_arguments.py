"""What `handdiff evaluate` and `handdiff benchmark` share: the arguments of a pipeline, and the name of its weights."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

from hf_handdiff.cli.arguments import (
    add_checkpoint_argument,
    add_device_argument,
    add_hand_argument,
    whole_number,
)


def add_pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what decides a pipeline and its numbers."""
    add_checkpoint_argument(parser)
    add_hand_argument(parser)
    add_device_argument(parser)
    parser.add_argument(
        "--num-inference-steps",
        type=whole_number(1),
        metavar="N",
        help="denoising steps of the joints (default: the checkpoint's)",
    )
    parser.add_argument(
        "--num-mesh-inference-steps",
        type=whole_number(1),
        metavar="N",
        help="denoising steps of the meshes (default: the checkpoint's)",
    )
    parser.add_argument("--guidance-scale", type=float, metavar="X", help="(default: the checkpoint's)")


def pipeline_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the pipeline that decide its numbers."""
    return {
        "num_inference_steps": arguments.num_inference_steps,
        "num_mesh_inference_steps": arguments.num_mesh_inference_steps,
        "guidance_scale": arguments.guidance_scale,
    }


def checkpoint_digest(checkpoint: str) -> str:
    """Name of a checkpoint with a digest of its files: retrained weights are not taken for the old ones."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return f"{folder.name} sha256:{digest.hexdigest()[:16]}"
