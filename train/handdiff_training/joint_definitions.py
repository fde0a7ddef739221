"""The map from the joints of MediaPipe's landmark network to those of the open hand.

The two name the same 21 joints and put them at other places: our knuckles lie deeper in the palm.  The difference
belongs to the hand, so it is fitted in the hand's own frame, on renders whose joints are known, and turns with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from handdiff_training.encoder_loss import view_joints
from handdiff_training.image_batches import CorpusBatches
from hf_handdiff.data.augmentation import centre_crop_batch
from hf_handdiff.models import HandImageEncoder

WRIST, THUMB, INDEX, LITTLE = 0, 2, 5, 17


@dataclass
class DefinitionMap:
    """Joint j moves by sum_k weights[j, k] p_k, p the 21 points from their mean and, in 3D, two normals of the palm.

    Attributes:
        weights: (21, 21) for points in the picture, (21, 23) for points in space.
    """

    weights: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """The network's points (B, 21, 2 or 3), in any frame and scale -> the open hand's joints in the same."""
        return points + torch.einsum("jk,bkd->bjd", self.weights.to(points), _basis(points))


def fit_definition_map(points: torch.Tensor, truth: torch.Tensor, ridge: float = 1e-3) -> DefinitionMap:
    """Ridge regression of joints on the network's points.

    Args:
        points: (B, 21, D) of the network, D 2 or 3.
        truth: (B, 21, D) joints of the same hands in the same frame and scale; see `lay_upon`.
        ridge: weight of the squared norm of the map, over the mean square of the points.
    """
    size = (points - points.mean(1, keepdim=True)).square().sum((1, 2), keepdim=True).sqrt()
    basis = (_basis(points) / size).transpose(0, 1).flatten(1)  # (K, D B)
    target = ((truth - points) / size).transpose(0, 1).flatten(1)  # (21, D B)
    penalty = ridge * basis.square().mean() * basis.shape[1] * torch.eye(len(basis))
    return DefinitionMap(torch.linalg.solve(basis @ basis.T + penalty, basis @ target.T).T)


def lay_upon(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """`moving` (B, K, 3) turned, scaled and moved by least squares onto `fixed` (Umeyama 1991)."""
    a, b = moving - moving.mean(1, keepdim=True), fixed - fixed.mean(1, keepdim=True)
    u, s, vh = torch.linalg.svd(a.transpose(1, 2) @ b)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.sign(torch.linalg.det(u @ vh))
    rotation = (u * sign[:, None]) @ vh
    scale = (s * sign).sum(-1) / a.square().sum((1, 2))
    return scale[:, None, None] * a @ rotation + fixed.mean(1, keepdim=True)


@dataclass
class Definitions:
    """Maps to the open hand's joints: of points in the picture and of points in space."""

    plane: DefinitionMap
    space: DefinitionMap


@torch.no_grad()
def fit_definitions(teacher: HandImageEncoder, renders: CorpusBatches) -> Definitions:
    """Fitted on renders that the landmark network sees well: half of the joints within 8 % of the hand, 70 % visible.

    Args:
        teacher: MediaPipe's landmark network as an encoder (scripts/convert_hand_landmark.py).
        renders: a split of a corpus, with true keypoints (21, 2) px and joints (21, 3) m.
    """
    found = {name: [] for name in ("plane", "space", "keypoints", "joints")}
    for rows in tqdm(renders.in_order(64), total=-(-len(renders) // 64), desc="definitions"):
        batch = centre_crop_batch(rows, upright=True)
        output, truth = teacher(batch["pixel_values"], framed=True), batch["keypoints"]
        off = (output.keypoints - truth).norm(dim=-1) / hand_sizes(truth)[:, None]
        easy = batch["has_hand"].bool() & (off.median(1).values < 0.08)
        easy &= batch["keypoints_visible"].float().mean(1) > 0.7
        for name, value in zip(found, (output.keypoints, output.joints, truth, view_joints(batch)), strict=True):
            found[name].append(value[easy])
    points, space, keypoints, joints = (torch.cat(values) for values in found.values())
    return Definitions(fit_definition_map(points, keypoints), fit_definition_map(space, lay_upon(joints, space)))


def hand_sizes(points: torch.Tensor) -> torch.Tensor:
    """Longer sides (B,) of the boxes round points (B, K, 2)."""
    return (points.amax(1) - points.amin(1)).amax(-1)


def _basis(points: torch.Tensor) -> torch.Tensor:
    """(B, 21, D) -> points from their mean; in 3D also the normals of the palm and of thumb and index, in its size."""
    centred = points - points.mean(1, keepdim=True)
    if points.shape[-1] == 2:
        return centred
    side = centred[:, INDEX] - centred[:, WRIST]
    others = [centred[:, joint] - centred[:, WRIST] for joint in (LITTLE, THUMB)]
    normals = [torch.nn.functional.normalize(torch.linalg.cross(side, other, dim=-1), dim=-1) for other in others]
    return torch.cat([centred, side.norm(dim=-1)[:, None, None] * torch.stack(normals, 1)], 1)
