"""What a hand of a photo may be: the answer and every hypothesis, each with a place and with how unlikely it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from hf_handdiff import camera
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.pipelines.metric_size import flat_lengths
from hf_handdiff.pipelines.outputs import HandPipelineOutput
from hf_handdiff.scene.penetration import ClosedFaces, Skin

PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")
JOINTS_WEIGHT = 6.0
"""How much the joints' mean squared distance from the answer counts, in units of their expected error. They err
together: 21 joints tell hardly more than a few numbers of their own."""
_LEAST_STD_M, _LEAST_STD_PX = 2e-3, 1.0


@dataclass(frozen=True)
class Candidate:
    """One way that a hand may be, in the camera frame.

    Attributes:
        joints: (21, 3) m.
        vertices: (V, 3) m.
        place: (3,) m, the wrist.
        closed: the triangles.
        cost: 0 for the answer; twice how much less likely it is in log probability, about.
        factor: by what the lengths of the pipeline's output were multiplied.
        hypothesis: its number; None: the answer.
        parameters: global_orient (3,), hand_pose (15, 3), betas (10,) and hand_scale of `hand.posed_hand`, or None.
    """

    joints: np.ndarray
    vertices: np.ndarray
    place: np.ndarray
    closed: ClosedFaces
    cost: float = 0.0
    factor: float = 1.0
    hypothesis: int | None = None
    parameters: dict[str, np.ndarray] | None = None

    @cached_property
    def skin(self) -> Skin:
        """Its mesh, for tests of contact."""
        return Skin.of(self.vertices, self.closed)

    def moved(self, ratio: float, keep_size: bool = False) -> Candidate:
        """`ratio` times as far away, seen at the same pixels: as much larger too or, with `keep_size`, only its middle
        stays at its pixel."""
        offset = self.shift(ratio, keep_size)
        factor = 1.0 if keep_size else ratio
        parameters = self.parameters
        if parameters is not None and not keep_size:
            parameters = {**parameters, "hand_scale": parameters["hand_scale"] * factor}
        return replace(
            self,
            joints=factor * self.joints + offset,
            vertices=factor * self.vertices + offset,
            place=factor * self.place + offset,
            factor=self.factor * factor,
            parameters=parameters,
        )

    def shift(self, ratio: float, keep_size: bool) -> np.ndarray | float:
        """What `moved` adds to the points, after it has multiplied them: (3,) m, or 0."""
        return (ratio - 1.0) * self.joints.mean(axis=0) if keep_size else 0.0

    def moved_skin(self, ratio: float, keep_size: bool) -> Skin:
        """The skin of `moved`; what was looked up in this one is kept."""
        return self.skin.moved(1.0 if keep_size else ratio, self.shift(ratio, keep_size))


def answer_of(output: HandPipelineOutput, index: int, factor: float, closed: ClosedFaces) -> Candidate:
    """The answer for a hand, all lengths times `factor`.

    Args:
        output: of a pipeline, as numpy arrays, with `mean_translation`.
        index: which hand of it.
        factor: of the hand.
        closed: triangles of its mesh.
    """
    place = output.mean_translation[index].astype(np.float64)
    parameters = None
    if output.global_orient is not None:
        parameters = {name: output[name][index].astype(np.float64) for name in PARAMETERS}
        parameters["hand_scale"] = parameters["hand_scale"] * factor
    return Candidate(
        joints=factor * (output.mean_joints[index] + place),
        vertices=factor * (output.mean_vertices[index] + place),
        place=factor * place,
        closed=closed,
        factor=factor,
        parameters=parameters,
    )


def hypotheses_of(
    output: HandPipelineOutput,
    index: int,
    answer: Candidate,
    length: float | None,
    intrinsics: np.ndarray,
    layer: HandLayer | None,
) -> list[Candidate]:
    """The hypotheses of a hand: posed hands where the output has `hypothesis_parameters`, else the meshes of stage 2.

    Args:
        output, index: as for `answer_of`.
        answer: of that.
        length: m, of posed hands: all are made as long; None: the answer's factor is theirs.
        intrinsics: (3, 3) px.
        layer: of the parameters.
    """
    parameters = output.hypothesis_parameters
    if parameters is None or layer is None:
        joints, vertices = (values[index].astype(np.float64) for values in (output.joints, output.vertices))
        places = output.translation[index].astype(np.float64)
        factors, rows = np.full(len(joints), answer.factor), [None] * len(joints)
    else:
        own = {name: torch.as_tensor(parameters[name][index]).float() for name in PARAMETERS}
        mesh = posed_hand(layer, *own.values(), handedness=output.handedness[index])
        joints, vertices = (values.double().numpy() for values in (mesh.joints, mesh.vertices))
        places = _places(output, index, joints, intrinsics)
        factors = np.full(len(joints), answer.factor)
        if length is not None:
            factors = length / flat_lengths(layer, own["betas"], own["hand_scale"]).double().numpy()
        sizes = own["hand_scale"].double().numpy() * factors
        columns = {**{name: values.double().numpy() for name, values in own.items()}, "hand_scale": sizes}
        rows = [{name: values[k] for name, values in columns.items()} for k in range(len(joints))]
    places, scale = places * factors[:, None], factors[:, None, None]
    joints, vertices = (scale * points + places[:, None] for points in (joints, vertices))
    costs = _costs(output, index, answer, joints, intrinsics)
    return [
        Candidate(joints[k], vertices[k], places[k], answer.closed, float(costs[k]), float(factors[k]), k, rows[k])
        for k in range(len(joints))
    ]


def _places(output, index, joints: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Where wrists (N, 3) m of joints (N, 21, 3) m, wrist at 0, stand by the 2D points, as the pipeline places them."""
    points, scores = output.keypoints_2d[index], np.nan_to_num(output.keypoint_scores[index])
    values = (joints, np.asarray(points)[None], intrinsics[None], np.square(scores)[None])
    return camera.fit_translation(*(torch.from_numpy(np.asarray(value, dtype=np.float64)) for value in values)).numpy()


def _costs(output, index, answer: Candidate, joints: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """How unlikely joints (N, 21, 3) m in the camera frame are, (N,): by their distance from the answer in units of its
    expected error, and by how much farther than the answer's they project from the 2D points, in units of theirs."""
    std = np.maximum(answer.factor * output.joint_std[index], _LEAST_STD_M)
    off = (joints - joints[:, :1]) - (answer.joints - answer.joints[:1])
    # a radius is the root mean square of a distance, all three axes together
    in_space = JOINTS_WEIGHT * ((off**2).sum(axis=-1) / std**2).mean(axis=-1)
    points, covariance = output.keypoints_2d[index], output.keypoint_cov[index]
    seen = np.isfinite(points).all(axis=-1) & np.isfinite(covariance).all(axis=(-2, -1))
    if not seen.any():
        return in_space
    precision = np.linalg.inv(covariance[seen].astype(np.float64) + _LEAST_STD_PX**2 * np.eye(2))
    in_picture = [_in_picture(one[seen], points[seen], precision, intrinsics) for one in (answer.joints, *joints)]
    return in_space + np.maximum(np.array(in_picture[1:]) - in_picture[0], 0.0)


def _in_picture(joints: np.ndarray, points: np.ndarray, precision: np.ndarray, intrinsics: np.ndarray) -> float:
    pixels = joints @ intrinsics.T
    off = pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6) - points
    return float(np.einsum("ki,kij,kj->k", off, precision, off).mean())
