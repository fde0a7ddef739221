"""Renders in FreiHAND's layout; what that is: `hf_handdiff.data.freihand`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.data.freihand import NUM_VERSIONS
from hf_handdiff.data.number_lists import write_number_list
from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import FINGERS
from hf_handdiff.synthetic.assets import SceneAssets
from hf_handdiff.synthetic.mano_format import pose_from_mean, vertex_order
from hf_handdiff.synthetic.official_trees import POINT_DECIMALS, encode_image
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.tree_scenes import crop_picture, stream_seed

ROOT_JOINT = FINGERS["middle"][0]
_LAYOUT_NUMBER = 1
_FOLDERS = {"train": "training", "evaluation": "evaluation"}
_LISTS = ("K", "scale", "xyz", "verts", "mano")


@dataclass(frozen=True)
class FreihandTree:
    """What decides a tree in FreiHAND's layout: the layout that `official_trees.write_tree` writes.

    Version 0 of a training entry stands before a green screen; its mask is the entry's.
    """

    num_samples: int
    evaluation_samples: int
    seed: int

    name = "FreiHAND"
    readme = f"""\
The training images come in {NUM_VERSIONS} versions: image n shows entry n % N of the N entries of the lists, the same
hand by the same camera in other light and before another background, version 0 before a green screen.
`training/mask` has the pixels of the hand's skin in version 0, that of its forearm too. The evaluation split comes with
its truth."""
    import_command = "handdiff data freihand --root TREE --mano TREE/MANO_RIGHT.pkl --out CORPUS"

    def __post_init__(self):
        if self.num_samples % NUM_VERSIONS:
            raise InputError(
                f"num_samples: expected a multiple of {NUM_VERSIONS} in FreiHAND's layout, which has {NUM_VERSIONS} "
                f"versions of each hand, got {self.num_samples}"
            )

    def settings(self) -> dict[str, Any]:
        """What a tree's settings name besides the counts and the seed."""
        return {"layout": self.name}

    def num_entries(self, split: str) -> int:
        """Hands of a split."""
        return self.num_samples // NUM_VERSIONS if split == "train" else self.evaluation_samples

    def num_images(self, split: str) -> int:
        """Images of each hand of a split."""
        return NUM_VERSIONS if split == "train" else 1

    def files(self, split: str, entry: int) -> list[str]:
        """The files of an entry, relative to the tree."""
        folder, count = _FOLDERS[split], self.num_entries(split)
        images = [f"{folder}/rgb/{entry + count * version:08d}.jpg" for version in range(self.num_images(split))]
        return [*images, f"{folder}/mask/{entry:08d}.jpg"] if split == "train" else images

    def make(self, split: str, entry: int, assets: SceneAssets) -> tuple[list[bytes], dict[str, np.ndarray]]:
        """The bytes of `files(split, entry)`, and the entry of each list."""
        seed = stream_seed(self.seed, _LAYOUT_NUMBER)
        pictures = [
            crop_picture(assets, seed, entry, version, green_screen=split == "train" and version == 0)
            for version in range(self.num_images(split))
        ]
        contents = [encode_image(picture.image, ".jpg") for picture in pictures]
        if split == "train":
            contents.append(encode_image(pictures[0].hand_mask.astype(np.uint8) * 255, ".jpg"))
        return contents, _labels(pictures[0].row)

    def lists(self) -> list[str]:
        """The files that are written last."""
        return [f"{folder}_{kind}.json" for folder in _FOLDERS.values() for kind in _LISTS]

    def write_lists(self, root: Path, split: str, labels: dict[str, np.ndarray]) -> None:
        """Write the lists of a split from the labels of all its entries, in order."""
        for kind in _LISTS:
            decimals = POINT_DECIMALS if kind in ("xyz", "verts") else None
            write_number_list(root / f"{_FOLDERS[split]}_{kind}.json", labels[kind], decimals)


def _labels(row: dict) -> dict[str, np.ndarray]:
    """An entry of each list from a row of the generator."""
    joints = row["joints_m"].astype(np.float64)
    camera = row["intrinsics_px"].astype(np.float64)
    root = joints[ROOT_JOINT]
    # where the root is seen and, by the orthographic camera of FreiHAND's code, its focal length over its depth
    place = [*project_points(root, camera), camera[0, 0] / root[2]]
    pose = pose_from_mean(row["pose_rad"].astype(np.float64))
    return {
        "K": camera,
        "scale": np.linalg.norm(joints[ROOT_JOINT] - joints[ROOT_JOINT + 1]),
        "xyz": joints,
        "verts": row["vertices_m"][vertex_order()],
        "mano": np.concatenate([pose.reshape(-1), row["shape"], place])[None],
    }
