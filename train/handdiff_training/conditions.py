"""What the frozen image encoder said of a corpus, kept on disk so that stages 1 and 2 train without images."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hf_handdiff.models.mesh_latent_denoiser import ImageConditions

_FIELDS = {  # name: (shape of a row, dtype)
    "keypoints": ((21, 2), np.float32),
    "keypoint_scores": ((21,), np.float32),
    "view_scale": ((), np.float32),
    "point_features": ((21, -1), np.float16),
    "global_features": ((-1,), np.float16),
    "encoder_joints": ((21, 3), np.float32),
    "joints": ((21, 3), np.float32),
    "vertices": ((-1, 3), np.float16),
    "visible": ((21,), np.bool_),
}


@dataclass
class Conditions:
    """A batch of conditions with its ground truth, all in the view frame of the estimated keypoints.

    Attributes:
        image: what the networks may see.
        joints: (B, 21, 3) m, wrist-relative.
        vertices: (B, V, 3) m, wrist-relative.
        visible: (B, 21) bool.
        row: (B,) int64, the row of the cache that each is, -1 if it is of none; None where nobody asks.
    """

    image: ImageConditions
    joints: torch.Tensor
    vertices: torch.Tensor
    visible: torch.Tensor
    row: torch.Tensor | None = None


class ConditionCache:
    """Reads a folder that `ConditionWriter` wrote, through memory maps."""

    def __init__(self, folder, split: str):
        root = Path(folder) / split
        if not (root / "meta.json").is_file():
            raise FileNotFoundError(
                f"--conditions: expected a folder written by encode_corpus.py with split {split!r}, got {folder}"
            )
        self.arrays = {name: np.load(root / f"{name}.npy", mmap_mode="r") for name in _FIELDS}

    def __len__(self):
        return len(self.arrays["joints"])

    def sample(self, count: int, generator: torch.Generator) -> Conditions:
        """`count` rows drawn with replacement."""
        return self.rows(torch.randint(len(self), (count,), generator=generator).numpy())

    def first(self, count: int) -> Conditions:
        """The first rows, at most `count`."""
        return self.rows(np.arange(min(count, len(self))))

    def rows(self, index: np.ndarray) -> Conditions:
        """The given rows, as float32 tensors."""

        def field(name):
            values = torch.from_numpy(np.ascontiguousarray(self.arrays[name][index]))
            return values.float() if values.is_floating_point() else values

        names = ("point_features", "global_features", "encoder_joints", "keypoints", "keypoint_scores", "view_scale")
        image = ImageConditions(has_image=torch.ones(len(index)), **{name: field(name) for name in names})
        truth = {name: field(name) for name in ("joints", "vertices", "visible")}
        return Conditions(image=image, **truth, row=torch.from_numpy(np.asarray(index, dtype=np.int64)))


class ConditionWriter:
    """Collects batches and writes them as .npy files; the meta file comes last and marks the folder as whole."""

    def __init__(self, folder, split: str):
        self.root = Path(folder) / split
        self.parts: dict[str, list[np.ndarray]] = {name: [] for name in _FIELDS}

    def add(self, conditions: Conditions) -> None:
        """Append one batch."""
        values = {
            **vars(conditions.image),
            "joints": conditions.joints,
            "vertices": conditions.vertices,
            "visible": conditions.visible,
        }
        for name, (_, dtype) in _FIELDS.items():
            self.parts[name].append(values[name].cpu().numpy().astype(dtype))

    def close(self, **meta) -> None:
        """Write everything aside, then put it in place."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "meta.json").unlink(missing_ok=True)
        for name, parts in self.parts.items():
            aside = self.root / f"{name}.writing.npy"
            np.save(aside, np.concatenate(parts))
            os.replace(aside, self.root / f"{name}.npy")
        (self.root / "meta.json").write_text(json.dumps({"rows": sum(map(len, self.parts["joints"])), **meta}))
