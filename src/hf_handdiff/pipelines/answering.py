"""From hypotheses in the view frame to what a call returns: one answer, its calibrated radius, the caller's frame."""

from functools import lru_cache

import numpy as np
import torch
from diffusers.utils import logging

from hf_handdiff.camera import fit_translation
from hf_handdiff.errors import InputError, first_line
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.mesh_kinds import topology_digest
from hf_handdiff.hub.pipeline_storage import StoredPipeline
from hf_handdiff.pipelines.aggregation import aggregate, calibrated_std, region_radius, spread, visibility_weights
from hf_handdiff.pipelines.defaults import MEANS
from hf_handdiff.pipelines.fitted_answer import fit_answer, fit_hypotheses, open_hand
from hf_handdiff.pipelines.image_encoding import ImageEncoding
from hf_handdiff.pipelines.inputs import HandRequest, mirror_hands, mirror_pixels
from hf_handdiff.pipelines.metric_size import MetricSize, set_metric_size
from hf_handdiff.pipelines.outputs import HandPipelineOutput

logger = logging.get_logger(__name__)

CALIBRATED_SCHEDULER = "DDIMScheduler"
FITTED_PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")


class AnsweringPipeline(StoredPipeline):
    """The half of `HandPipeline` that comes after sampling."""

    def joint_region(self, joint_std: torch.Tensor | np.ndarray, share: float = 0.9) -> torch.Tensor:
        """How far around `mean_joints` the true joints lie with probability `share`.

        Measured on validation data where the checkpoint carries a calibration; else a Gaussian's.

        Args:
            joint_std: (B, 21) m, of an answer.
            share: 0..0.99.

        Returns:
            (B, 21) m, radius of the ball.

        Raises:
            ValueError: `share` is outside of that range.
        """
        calibration = self.config.get("joint_std_calibration") or {}
        return region_radius(torch.as_tensor(joint_std), share, calibration.get("regions"))

    @property
    def hand_layer(self) -> HandLayer:
        """The right hand that answers are fitted with: the open hand, or the one given to `use_hand`.

        Raises:
            InputError: the checkpoint's meshes are another hand's, and none was given.
        """
        chosen = getattr(self, "_hand_layer", None)
        if chosen is not None:
            return chosen
        autoencoder, layer = getattr(self, "mesh_autoencoder", None), open_hand()
        if autoencoder is None or autoencoder.topology == _open_topology():
            return layer
        raise InputError(
            "aggregation: 'fitted' (and fit) expects the hand that the checkpoint's meshes are of; give its file to "
            "pipe.use_hand('MANO_RIGHT.pkl') or to --hand, or choose another aggregation"
        )

    @property
    def mesh_faces(self) -> torch.Tensor | None:
        """The triangles (F, 3) int64 of the meshes; None of a user's hand that was not given to `use_hand`.

        A checkpoint holds the open hand's alone; a pipeline without meshes knows none.
        """
        known = getattr(self, "_hand_layer", None) or getattr(self, "mesh_autoencoder", None)
        return known.faces.cpu() if known is not None and len(known.faces) else None

    def use_hand(self, hand: HandLayer | str) -> None:
        """Answer with another right hand than the open one: a layer, or the path of a MANO file.

        A checkpoint of such a hand needs it for fitted answers and for whatever draws or writes triangles. Nothing of
        it goes into a checkpoint that is saved.

        Raises:
            InputError: its topology is not that of the checkpoint's meshes, or the file is no hand.
        """
        if not isinstance(hand, HandLayer):
            try:
                hand = load_mano_layer(hand)
            except (OSError, ValueError) as error:
                raise InputError(f"hand: {first_line(error)}") from error
        autoencoder = getattr(self, "mesh_autoencoder", None)
        given = topology_digest(hand.faces.cpu())
        if autoencoder is not None and autoencoder.topology != given:
            is_open = autoencoder.topology == _open_topology()
            its = "that of the open hand: leave the file out" if is_open else "that of another file"
            raise InputError(f"hand: expected a hand with the topology of the checkpoint's meshes, {its}")
        self._hand_layer = hand.eval()

    @classmethod
    def from_pipe(cls, pipeline, **kwargs):
        """As in diffusers; the hand that was given to `use_hand` goes with it."""
        made = super().from_pipe(pipeline, **kwargs)
        hand = getattr(pipeline, "_hand_layer", None)
        if hand is not None:
            made.use_hand(hand)
        return made

    def check_fit(self, aggregation: str, fit: str | None) -> None:
        """Say before anything is sampled that there is no hand to fit; arguments of a call.

        Raises:
            InputError: see `hand_layer`.
        """
        if aggregation == "fitted" or fit is not None:
            self.hand_layer  # noqa: B018

    @torch.autocast("cpu", enabled=False)  # a hand that is a metre away, to the tenth of a millimetre
    def to_output(
        self,
        request: HandRequest,
        encoding: ImageEncoding | None,
        rotation: torch.Tensor,
        joints: torch.Tensor,
        vertices: torch.Tensor | None,
        hypotheses: torch.Tensor | None,
        aggregation: str,
        calibrated: bool,
        fit: str | None = None,
        size: MetricSize | None = None,
    ) -> HandPipelineOutput:
        """From the view frame of right hands back to the caller's cameras, pixels and sides, and to one answer.

        `rotation` (B, 3, 3) leads from the camera to the view; joints, vertices, hypotheses are (B, N, ., 3) m.
        """
        left, batch = request.is_left, len(request.handedness)
        evidence = (None, None) if encoding is None else (encoding.view, encoding.view_distribution)
        answer, parameters = {}, None
        if aggregation == "fitted":
            hand = fit_answer(self.hand_layer, joints, *evidence).to_camera(rotation, left)
            answer = {name: getattr(hand, name) for name in FITTED_PARAMETERS}
        if fit == "all":
            count = joints.shape[1]
            hands = fit_hypotheses(self.hand_layer, joints, *evidence)
            hands = hands.to_camera(rotation.repeat_interleave(count, 0), left.repeat_interleave(count))
            parameters = {name: getattr(hands, name).unflatten(0, (batch, count)) for name in FITTED_PARAMETERS}

        def to_camera(points):
            return None if points is None else points @ rotation[:, None]  # rows times R = R^T on columns

        joints, vertices, hypotheses = to_camera(joints), to_camera(vertices), to_camera(hypotheses)
        translation = None
        if request.has_intrinsics and encoding is not None:
            translation = _places(request, encoding, joints)
        joints, vertices, hypotheses, translation = (
            mirror_hands(points, left) for points in (joints, vertices, hypotheses, translation)
        )
        if aggregation == "fitted":
            mean_joints, mean_vertices = hand.joints, None if vertices is None else hand.vertices
        else:
            mean_joints, mean_vertices = aggregate(joints, vertices, aggregation)
        place = None if encoding is None else _places(request, encoding, mirror_hands(mean_joints, left)[:, None])[:, 0]
        output = HandPipelineOutput(
            joints=joints,
            vertices=vertices,
            joint_hypotheses=hypotheses,
            mean_joints=mean_joints,
            mean_vertices=mean_vertices,
            joint_std=self._joint_std(joints, calibrated, None if encoding is None else encoding.scores),
            joint_std_calibrated=calibrated,
            translation=translation,
            faces=None if vertices is None or self.mesh_faces is None else self.mesh_faces.clone(),
            handedness=request.handedness,
            image_indices=request.image_indices,
            boxes=request.boxes,
            hypothesis_parameters=parameters,
            mean_translation=mirror_hands(place, left) if request.has_intrinsics else None,
            **answer,
            **({} if encoding is None else _in_pixels(request, encoding)),
        )
        layer = self.hand_layer if answer else None
        return set_metric_size(output, size or MetricSize(), layer, None if place is None else place[:, 2])

    def is_calibrated(
        self, aggregation: str, num_steps=None, num_mesh_steps=None, guidance_scale=None, own_noise: bool = False
    ) -> bool:
        """Whether `joint_std` is calibrated for a call: sampled and aggregated as when the calibration was fitted."""
        calibration = self.config.get("joint_std_calibration")
        if not calibration or calibration.get("aggregation", MEANS[0]) != aggregation:
            return False
        as_tuned = {"num_inference_steps": num_steps, "num_mesh_inference_steps": num_mesh_steps}
        as_tuned["guidance_scale"] = guidance_scale
        schedulers = (getattr(self, name, None) for name in ("joint_scheduler", "mesh_scheduler"))
        return (
            not own_noise
            and all(value is None or value == self.config[name] for name, value in as_tuned.items())
            and all(scheduler is None or type(scheduler).__name__ == CALIBRATED_SCHEDULER for scheduler in schedulers)
        )

    def _joint_std(self, joints: torch.Tensor, calibrated: bool, scores: torch.Tensor | None) -> torch.Tensor:
        """(B, 21) m: calibrated on validation data where the checkpoint carries a calibration."""
        calibration = self.config.get("joint_std_calibration")
        raw = spread(joints)
        if not calibration:
            return raw
        if not calibrated:
            warn_once(
                "joint_std: the checkpoint's calibration belongs to another aggregation, other schedulers, steps, "
                "guidance or noise; the radii of this call are not calibrated (joint_std_calibrated is False)"
            )
        if joints.shape[1] == 1:  # one hypothesis has no spread: what single ones were off by on average
            return torch.tensor(calibration["single_m"]).expand(raw.shape).clone()
        std = calibrated_std(raw, torch.tensor(calibration["scale"]), torch.tensor(calibration["floor_m"]))
        if scores is None or "visibility" not in calibration:
            return std
        return std * (visibility_weights(scores) @ torch.tensor(calibration["visibility"]))[:, None]


@lru_cache
def _open_topology() -> str:
    return topology_digest(open_hand().faces.cpu())


@lru_cache
def warn_once(message: str) -> None:
    """Log a warning, once a process."""
    logger.warning(message)


def _places(request: HandRequest, encoding: ImageEncoding, joints: torch.Tensor) -> torch.Tensor:
    """Where the wrists (B, N, 3) m stand in the camera frame: joints (B, N, 21, 3) m of right hands, camera axes."""
    points, weights = encoding.keypoints_px[:, None], encoding.view.scores.square()[:, None]
    return fit_translation(joints, points, request.intrinsics[:, None], weights)


def _in_pixels(request: HandRequest, encoding: ImageEncoding) -> dict:
    """What the 2D side found, in pixels of the photos as they were given."""
    left = request.is_left
    crops = request.crops.clone()
    crops[left, 0] = request.widths[left] - crops[left, 0]
    seen = torch.isfinite(encoding.keypoints_px).all(-1, keepdim=True)
    return {
        "keypoints_2d": mirror_pixels(encoding.keypoints_px, request.widths, left),
        "keypoint_scores": encoding.scores,
        "keypoint_cov": torch.where(seen[..., None], _mirrored(encoding.distribution.covariance(), left), torch.nan),
        "hand_score": encoding.hand_score,
        "side_score": encoding.side_score,
        "keypoint_agreement": encoding.keypoint_agreement,
        "crops": crops,
    }


def _mirrored(covariance: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Covariances (B, 21, 2, 2) of the photo's own pixels: in mirrored ones x and y go together the other way."""
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return torch.where(left[:, None, None, None], sign * covariance, covariance)
