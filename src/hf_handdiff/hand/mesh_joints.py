"""The linear regressor that reads the 21 joints off a posed mesh.

MANO's own regressor gives the joints of the rest mesh; on a bent finger the skin around a knuckle has moved,
and the regressed joint with it.  This one is fitted on posed hands.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.poses import PoseSampler, default_sampler
from hf_handdiff.hand.topology import MANO_PARENTS, MANO_TO_JOINTS, NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE

_CANDIDATES = 72
_SUM_WEIGHT = 1e4
_RIDGE = 0.3


def _candidates(layer: HandLayer, joint: int) -> np.ndarray:
    """The vertices nearest to a MANO joint on the rest hand that follow it, its parent or a child of it."""
    family = [joint] + [j for j in range(NUM_ROTATIONS) if MANO_PARENTS[j] == joint]
    if joint:
        family.append(MANO_PARENTS[joint])
    distance = (layer.template - layer.joint_template[joint]).norm(dim=1)
    follows = layer.skinning_weights[:, family].sum(1) > 0.5
    distance = torch.where(follows, distance, torch.full_like(distance, torch.inf))
    nearest = np.argsort(distance.numpy(), kind="stable")[:_CANDIDATES]
    return nearest[np.isfinite(distance.numpy()[nearest])]


def _fit_row(vertices: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Non-negative weights of sum 1 over ``(N, K, 3)`` vertices that best give ``(N, 3)`` joints."""
    count = vertices.shape[1]
    equations = vertices.transpose(0, 2, 1).reshape(-1, count) * 1000
    matrix = np.vstack([equations, np.full((1, count), _SUM_WEIGHT), _RIDGE * np.eye(count)])
    weights, _ = nnls(matrix, np.concatenate([joint.ravel() * 1000, [_SUM_WEIGHT], np.zeros(count)]))
    return weights / weights.sum()


def fit_mesh_to_joints(
    layer: HandLayer,
    sampler: PoseSampler | None = None,
    num_hands: int = 400,
    seed: int = 7,
    verbose: bool = False,
) -> np.ndarray:
    """Fit the 21 joints as averages of the vertices of posed meshes.

    Args:
        layer: the hand.
        sampler: where the poses come from; None takes the open hand's.
        num_hands: hands to fit on, each with its own pose and shape; as many again measure the residual.
        seed: seed of the poses and shapes.
        verbose: print the residual on hands that the fit has not seen.

    Returns:
        ``(21, V)`` float32; rows are sparse, not negative, and sum to 1; fingertips are single vertices.
    """
    sampler = default_sampler() if sampler is None else sampler
    generator = torch.Generator().manual_seed(seed)
    poses = sampler.sample(2 * num_hands, generator, recorded_share=0.0)
    shapes = torch.randn(2 * num_hands, NUM_SHAPE, generator=generator)
    with torch.no_grad():
        mesh = layer(poses, shapes)
    vertices, joints = mesh.vertices.double().numpy(), mesh.joints.double().numpy()
    regressor = np.zeros((NUM_JOINTS, layer.num_vertices))
    for row, source in enumerate(MANO_TO_JOINTS):
        if source >= NUM_ROTATIONS:
            regressor[row, int(layer.tip_vertices[source - NUM_ROTATIONS])] = 1.0
            continue
        columns = _candidates(layer, source)
        regressor[row, columns] = _fit_row(vertices[:num_hands, columns], joints[:num_hands, row])
    regressor = regressor.astype(np.float32)
    if verbose:
        read = np.einsum("jv,nvx->njx", regressor, vertices[num_hands:])
        error = 1000 * np.linalg.norm(read - joints[num_hands:], axis=-1)
        inner = error[:, [row for row, source in enumerate(MANO_TO_JOINTS) if source < NUM_ROTATIONS]]
        print(
            f"mesh to joints, unseen posed hands: mean {inner.mean():.2f} mm over the 16 inner joints, "
            f"95 % {np.percentile(inner, 95):.2f} mm, worst {inner.max():.2f} mm"
        )
        print("  by joint: " + " ".join(f"{value:.2f}" for value in error.mean(0)))
    return regressor
