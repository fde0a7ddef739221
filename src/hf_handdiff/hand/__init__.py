"""What a hand is: joint orders, rotations, the hand layer, the open hand asset, poses, MANO files, and fitting."""

from importlib import import_module

# The layer loads torch, which who wants names of joints alone need not wait for.
_MODULES = {"HandLayer": "layer", "HandMesh": "layer"} | dict.fromkeys(
    ("HandParameters", "fit_hand", "posed_hand"), "fitting"
)

__all__ = list(_MODULES)


def __getattr__(name):
    """Import a public name when it is asked for."""
    if name in _MODULES:
        return getattr(import_module(f"hf_handdiff.hand.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
