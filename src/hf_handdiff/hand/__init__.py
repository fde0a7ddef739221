"""What a hand is: joint orders, rotations, the hand layer, the open hand asset, poses and MANO files."""

__all__ = ["HandLayer", "HandMesh"]


def __getattr__(name):
    """The layer loads torch, which who wants names of joints alone need not wait for."""
    if name in __all__:
        from hf_handdiff.hand import layer

        return getattr(layer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
