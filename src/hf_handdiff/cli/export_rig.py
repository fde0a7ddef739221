"""`handdiff export-rig`: arguments and what runs. Heavy modules load when the command runs, not for its help."""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_handdiff.cli.arguments import add_hand_argument, whole_number
from hf_handdiff.errors import InputError

_FORMATS = ("bvh", "glb")


def add_export_rig_parser(subparsers) -> None:
    """Add `export-rig` to the subparsers of `handdiff`; sets `run`, arguments -> exit status."""
    parser = subparsers.add_parser(
        "export-rig",
        help="write predicted hands as a rig, BVH or GLB",
        description="Write the hands that `handdiff predict` found as a rig of 16 joints: BVH (one hand, y up, metres) "
        "or GLB (all hands, with their meshes). Reads NAME.json, NAME.npz or, of a video, NAME.jsonl.",
    )
    parser.add_argument("input", metavar="INPUT", help="NAME.json, NAME.npz or NAME.jsonl")
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help="the file to write")
    parser.add_argument("--format", choices=_FORMATS, help="default: by the name of the file")
    parser.add_argument(
        "--hand-id",
        type=whole_number(0),
        metavar="N",
        help="the hand of a video, by its number (default: the only one)",
    )
    add_hand_argument(parser)
    parser.set_defaults(run=run_export_rig)


def run_export_rig(arguments: argparse.Namespace) -> int:
    """`handdiff export-rig`: returns the exit status."""
    from hf_handdiff.export.rig_records import read_rigs
    from hf_handdiff.viz.animated_glb import write_animated_glb
    from hf_handdiff.viz.bvh import write_bvh

    kind = arguments.format or arguments.out.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise InputError(f"--out: expected a name that ends in .bvh or .glb, or --format, got '{arguments.out}'")
    if not arguments.out.parent.is_dir():
        raise InputError(f"--out: there is no folder '{arguments.out.parent}'")
    recorded = read_rigs(arguments.input, _layer(arguments.hand_model))
    hands = recorded.hands
    if arguments.hand_id is not None:
        hands = [hand for hand in hands if hand.name.startswith(f"hand_{arguments.hand_id}_")]
    names = ", ".join(hand.name for hand in recorded.hands) or "no hand"
    if not hands:
        raise InputError(f"--hand-id: '{arguments.input}' holds {names}")
    if kind == "glb":
        write_animated_glb(arguments.out, hands, recorded.times_s)
    elif len(hands) > 1:
        raise InputError(f"--hand-id: a BVH file holds one hand; '{arguments.input}' holds {names}")
    else:
        write_bvh(arguments.out, hands[0], recorded.times_s)
    print(f"{arguments.out}: {', '.join(hand.name for hand in hands)}, {len(recorded.times_s)} frames")
    return 0


def _layer(path: str | None):
    from hf_handdiff.errors import first_line
    from hf_handdiff.hand import HandLayer
    from hf_handdiff.hand.mano_layer import load_mano_layer

    if path is None:
        return HandLayer.open_hand()
    try:
        return load_mano_layer(path)
    except (OSError, ValueError) as error:
        raise InputError(f"--hand: {first_line(error)}") from None
