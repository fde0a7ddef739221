"""What a hand is: joint orders, rotations, the hand layer, the open hand asset, poses and MANO files."""

from hf_handdiff.hand.layer import HandLayer, HandMesh

__all__ = ["HandLayer", "HandMesh"]
