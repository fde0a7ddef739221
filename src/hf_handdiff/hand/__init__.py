"""What a hand is: joint orders, rotations, the hand layer, the open hand asset, poses, MANO files, and fitting."""

from hf_handdiff.hand.fitting import HandParameters, fit_hand, posed_hand
from hf_handdiff.hand.layer import HandLayer, HandMesh

__all__ = ["HandLayer", "HandMesh", "HandParameters", "fit_hand", "posed_hand"]
