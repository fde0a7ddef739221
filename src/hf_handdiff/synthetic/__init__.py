"""The synthetic corpus: rendered hands with exact labels, from a seed and an index.

`generate_sample` makes one row, `write_corpus` a folder of Parquet shards, `generate_hand_pair` an image of two hands
in contact with the truth of both, `write_tree` a tree in the layout of FreiHAND or HO3D; `SceneAssets.load` reads what
samples share. Rendering is a software rasteriser compiled by numba: extra `synthetic`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_handdiff.synthetic.assets import SceneAssets
    from hf_handdiff.synthetic.freihand_tree import FreihandTree
    from hf_handdiff.synthetic.generator import generate_sample
    from hf_handdiff.synthetic.hand_pairs import generate_hand_pair
    from hf_handdiff.synthetic.ho3d_tree import Ho3dTree
    from hf_handdiff.synthetic.official_trees import write_tree
    from hf_handdiff.synthetic.writer import write_corpus

__all__ = [
    "FreihandTree",
    "Ho3dTree",
    "SceneAssets",
    "generate_hand_pair",
    "generate_sample",
    "write_corpus",
    "write_tree",
]

_HOMES = {
    "FreihandTree": "freihand_tree",
    "Ho3dTree": "ho3d_tree",
    "SceneAssets": "assets",
    "generate_hand_pair": "hand_pairs",
    "generate_sample": "generator",
    "write_corpus": "writer",
    "write_tree": "official_trees",
}


def __getattr__(name: str):
    """Import what is asked for when it is asked for: the command's --help needs neither numba nor torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
