"""Stage 2 by itself: photo and/or 3D joints -> hypotheses of meshes."""

import numpy as np
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.models import HandDetector, HandImageEncoder, MeshAutoencoder, MeshLatentDenoiser
from hf_handdiff.pipelines.base import HandPipeline
from hf_handdiff.pipelines.defaults import DEFAULT_AGGREGATION, NUM_HYPOTHESES
from hf_handdiff.pipelines.image_processor import HandImageProcessor
from hf_handdiff.pipelines.inputs import check_sampling, hands_to_sample, mirror_hands
from hf_handdiff.pipelines.metric_size import check_metric_size
from hf_handdiff.pipelines.outputs import HandPipelineOutput
from hf_handdiff.pipelines.sampling import base_seeds
from hf_handdiff.pipelines.schedulers import check_scheduler


class MeshLDMPipeline(HandPipeline):
    """Samples meshes by latent diffusion. Loads from a cascade's checkpoint as well as from one of its own.

    Args:
        image_encoder: its features and 2D keypoints are the image's conditions.
        mesh_autoencoder: its latent space is where diffusion happens; it knows faces and joints.
        mesh_latent_denoiser: the network of stage 2.
        mesh_scheduler: its schedule; x0-prediction, no clipping.
        num_mesh_inference_steps: default of the call.
        guidance_scale: default of the call.
        hand_detector: finds hands in whole photos for `boxes="detect"`; None: it cannot be asked for.
        image_processor: cuts the crops out of the photos; None: one of the image encoder's size.
    """

    _optional_components = ["hand_detector", "image_processor"]
    model_cpu_offload_seq = "image_encoder->mesh_latent_denoiser->mesh_autoencoder"

    def __init__(
        self,
        image_encoder: HandImageEncoder,
        mesh_autoencoder: MeshAutoencoder,
        mesh_latent_denoiser: MeshLatentDenoiser,
        mesh_scheduler,
        num_mesh_inference_steps: int = 5,
        guidance_scale: float = 1.0,
        hand_detector: HandDetector | None = None,
        image_processor: HandImageProcessor | None = None,
    ):
        super().__init__()
        check_scheduler(mesh_scheduler, "mesh_scheduler")
        self.register_modules(
            image_encoder=image_encoder,
            mesh_autoencoder=mesh_autoencoder,
            mesh_latent_denoiser=mesh_latent_denoiser,
            mesh_scheduler=mesh_scheduler,
            hand_detector=hand_detector,
            image_processor=image_processor or HandImageProcessor(image_encoder.config.image_size),
        )
        self.register_to_config(
            num_mesh_inference_steps=num_mesh_inference_steps,
            guidance_scale=guidance_scale,
        )

    def __call__(
        self,
        images=None,
        handedness="right",
        boxes=None,
        keypoints_2d=None,
        keypoint_scores=None,
        intrinsics=None,
        joints=None,
        num_hypotheses: int | None = None,
        num_mesh_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        aggregation: str = DEFAULT_AGGREGATION,
        generator=None,
        output_type: str = "np",
        return_dict: bool = True,
        mesh_noise=None,
        callback_on_step_end=None,
        keypoint_cov=None,
        fit: str | None = None,
        hand_length_m=None,
        wrist_depth_m=None,
        last_keypoints_2d=None,
    ) -> HandPipelineOutput | tuple:
        """Sample meshes from images, from joints, or from both.

        Args:
            images: one or a list of paths, PIL images or (H, W, 3) uint8 RGB arrays; None: joints alone decide.
            handedness: see [`CascadedHandPipeline`], as are boxes, keypoints_2d, keypoint_scores, intrinsics.
            joints: (B, N, 21, 3) m, camera axes, wrist-relative: one mesh is sampled for each; or (B, 21, 3), used
                for all hypotheses. None: the image alone decides.
            num_hypotheses: meshes an image; None: as many as `joints` has, else 20.

        Returns:
            [`HandPipelineOutput`]; `joint_hypotheses` are the joints that were given.

        Raises:
            InputError: a bad argument, named in one sentence.
        """
        hypotheses = _check_joints(joints, num_hypotheses)
        if num_hypotheses is None:
            num_hypotheses = NUM_HYPOTHESES if hypotheses is None else hypotheses.shape[1]
        check_sampling(
            num_hypotheses,
            {"num_mesh_inference_steps": num_mesh_inference_steps},
            aggregation,
            output_type,
            guidance_scale,
            fit,
        )
        self.check_fit(aggregation, fit)
        count = None if hypotheses is None else len(hypotheses)
        hands = hands_to_sample(
            self.hand_detector, images, handedness, boxes, keypoints_2d, intrinsics, generator, joints
        )
        request = hands.request(keypoints_2d, keypoint_scores, count, keypoint_cov, last_keypoints_2d)
        if count is not None and count != len(request.handedness):
            raise InputError(f"joints: expected one row for each of {len(request.handedness)} images, got {count}")
        size = check_metric_size(hand_length_m, wrist_depth_m, hands, request)
        seeds = base_seeds(hands.generator, len(request.handedness))
        encoding = None if request.crops is None else self.encode_image(request)
        rotation = torch.eye(3).expand(count or 1, 3, 3) if encoding is None else encoding.view.rotation

        in_view = None
        if hypotheses is not None:
            hypotheses = mirror_hands(hypotheses.expand(-1, num_hypotheses, -1, -1), request.is_left)
            in_view = hypotheses @ rotation[:, None].transpose(-1, -2)
        vertices, mesh_joints = self.sample_meshes(
            in_view,
            encoding,
            seeds,
            num_hypotheses,
            num_mesh_inference_steps,
            guidance_scale,
            mesh_noise,
            callback_on_step_end,
        )
        output = self.to_output(
            request,
            encoding,
            rotation,
            mesh_joints,
            vertices,
            in_view,
            aggregation,
            calibrated=False,
            fit=fit,
            size=size,
        )
        return output.finish(output_type, return_dict)


def _check_joints(joints, num_hypotheses) -> torch.Tensor | None:
    """(B, N or 1, 21, 3) float32, wrist at 0."""
    if joints is None:
        return None
    expected = "joints: expected an array of shape (B, N, 21, 3) or (B, 21, 3) in metres"
    try:
        array = np.asarray(joints.cpu() if isinstance(joints, torch.Tensor) else joints, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{expected}, got something that is not an array of numbers") from None
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[2:] != (21, 3) or 0 in array.shape:
        raise InputError(f"{expected}, got shape {np.shape(joints)}")
    if not np.isfinite(array).all():
        raise InputError("joints: expected finite numbers, got NaN or infinity")
    if num_hypotheses is not None and array.shape[1] not in (1, num_hypotheses):
        raise InputError(f"joints: expected 1 or num_hypotheses={num_hypotheses} an image, got {array.shape[1]}")
    return torch.from_numpy(array - array[:, :, :1])
