"""`--hand`: the hand that a training makes hands of, and whose meshes it learns. By default the open hand."""

import argparse

import numpy as np
import torch

from hf_handdiff.errors import InputError, first_line
from hf_handdiff.hand import HandLayer
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.mesh_kinds import mesh_of_layer, topology_digest
from hf_handdiff.hand.open_hand import agrees_with_joints
from hf_handdiff.models import MeshAutoencoder


def add_hand_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--hand`."""
    parser.add_argument(
        "--hand",
        help="file of the right hand to train for: MANO_RIGHT.pkl, yours by its licence, or an npz file with the same "
        "arrays; default: the open hand",
    )


def load_hand(args: argparse.Namespace) -> HandLayer:
    """The layer of `--hand`.

    What reads the joints off its meshes goes into checkpoints. Of a file it is fitted to posed samples, even where the
    file brings one, so that a checkpoint holds no array of the file.

    Raises:
        InputError: there is no such file, or it is no right hand.
    """
    if args.hand is None:
        return HandLayer.open_hand()
    try:
        return load_mano_layer(args.hand, fit_reader=True)
    except (OSError, ValueError) as error:
        raise InputError(f"--hand: {first_line(error)}") from error


def check_autoencoder(layer: HandLayer, autoencoder: MeshAutoencoder, flag: str) -> None:
    """Refuse a mesh autoencoder of another hand than `layer`; `flag` named the autoencoder.

    Raises:
        InputError: its triangles are others.
    """
    if autoencoder.topology != topology_digest(layer.faces.cpu()):
        raise InputError(
            f"--hand: expected the hand that the autoencoder of --{flag} was trained for, got {mesh_of_layer(layer)} "
            "(default: the open hand)"
        )


def check_meshes(layer: HandLayer, vertices: torch.Tensor, joints: torch.Tensor, flag: str) -> None:
    """Refuse data whose meshes are of another hand than `layer`: its vertices would be learned in the wrong places.

    Args:
        layer: the hand.
        vertices, joints: (N, V, 3) and (N, 21, 3) m of some hands, each in one frame; those without a mesh are NaN.
        flag: that named the data.

    Raises:
        InputError: the joints that are read off the vertices are not the annotated ones.
    """
    known = torch.isfinite(vertices).flatten(1).all(1) & torch.isfinite(joints).flatten(1).all(1)
    some = list(zip(vertices[known].numpy(), joints[known].numpy(), strict=True))
    agree = [agrees_with_joints(layer.mesh_to_joints, *hand) for hand in some]
    if agree and np.mean(agree) < 0.5:
        raise InputError(
            f"--{flag}: expected meshes of the hand of --hand ({mesh_of_layer(layer)}), and its vertices are not where "
            "that hand has them"
        )
