"""The cascade: photo -> 2D keypoints -> N joint hypotheses -> N meshes -> one answer with a calibrated spread."""

from hf_handdiff.models import HandDetector, HandImageEncoder, JointDenoiser, MeshAutoencoder, MeshLatentDenoiser
from hf_handdiff.pipelines.base import HandPipeline
from hf_handdiff.pipelines.defaults import DEFAULT_AGGREGATION, NUM_HYPOTHESES
from hf_handdiff.pipelines.image_processor import HandImageProcessor
from hf_handdiff.pipelines.inputs import check_sampling, hands_to_sample
from hf_handdiff.pipelines.metric_size import check_metric_size
from hf_handdiff.pipelines.outputs import HandPipelineOutput
from hf_handdiff.pipelines.sampling import base_seeds
from hf_handdiff.pipelines.schedulers import check_scheduler


class CascadedHandPipeline(HandPipeline):
    """From photos of hands to distributions of 3D hand meshes.

    Example:
        >>> pipe = CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT)
        >>> out = pipe("photo.jpg", handedness="right", num_hypotheses=20, generator=0)
        >>> out.mean_vertices.shape, out.joint_std.shape
        ((1, 778, 3), (1, 21))

    Args:
        image_encoder: photo -> 2D keypoints with scores, hand score, image features.
        joint_denoiser: stage 1's network.
        mesh_autoencoder: latent space of meshes; also faces and the joints of a mesh.
        mesh_latent_denoiser: stage 2's network.
        joint_scheduler: stage 1's schedule; x0-prediction, no clipping.
        mesh_scheduler: stage 2's schedule; likewise.
        num_inference_steps: what stage 1 was tuned for.
        num_mesh_inference_steps: what stage 2 was tuned for.
        guidance_scale: what both were tuned for; 1 is plain conditional sampling.
        joint_std_calibration: {"scale": 21 numbers, "floor_m": 21, "single_m": 21, "regions": 41}, fitted on
            validation data (`evaluation/calibration.py`), or None: `joint_std` is then the plain spread.
        joint_noise_scale: the noise that stage 1 starts from is this many times the unit noise that it was trained
            with: above 1 its hypotheses lie farther apart. Tuned on validation data.
        hand_detector: finds hands in whole photos for `boxes="detect"`; None: it cannot be asked for.
        image_processor: cuts the crops out of the photos; None: one of the image encoder's size.
    """

    _optional_components = ["hand_detector", "image_processor"]
    model_cpu_offload_seq = "image_encoder->joint_denoiser->mesh_latent_denoiser->mesh_autoencoder"

    def __init__(
        self,
        image_encoder: HandImageEncoder,
        joint_denoiser: JointDenoiser,
        mesh_autoencoder: MeshAutoencoder,
        mesh_latent_denoiser: MeshLatentDenoiser,
        joint_scheduler,
        mesh_scheduler,
        num_inference_steps: int = 10,
        num_mesh_inference_steps: int = 5,
        guidance_scale: float = 1.0,
        joint_std_calibration: dict | None = None,
        joint_noise_scale: float = 1.0,
        hand_detector: HandDetector | None = None,
        image_processor: HandImageProcessor | None = None,
    ):
        super().__init__()
        check_scheduler(joint_scheduler, "joint_scheduler")
        check_scheduler(mesh_scheduler, "mesh_scheduler")
        self.register_modules(
            image_encoder=image_encoder,
            joint_denoiser=joint_denoiser,
            mesh_autoencoder=mesh_autoencoder,
            mesh_latent_denoiser=mesh_latent_denoiser,
            joint_scheduler=joint_scheduler,
            mesh_scheduler=mesh_scheduler,
            hand_detector=hand_detector,
            image_processor=image_processor or HandImageProcessor(image_encoder.config.image_size),
        )
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            num_mesh_inference_steps=num_mesh_inference_steps,
            guidance_scale=guidance_scale,
            joint_std_calibration=joint_std_calibration,
            joint_noise_scale=joint_noise_scale,
        )

    def __call__(
        self,
        images=None,
        handedness="right",
        boxes=None,
        keypoints_2d=None,
        keypoint_scores=None,
        intrinsics=None,
        num_hypotheses: int = NUM_HYPOTHESES,
        num_inference_steps: int | None = None,
        num_mesh_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        aggregation: str = DEFAULT_AGGREGATION,
        generator=None,
        output_type: str = "np",
        return_dict: bool = True,
        joint_noise=None,
        mesh_noise=None,
        callback_on_step_end=None,
        keypoint_cov=None,
        fit: str | None = None,
        hand_length_m=None,
        wrist_depth_m=None,
        last_keypoints_2d=None,
    ) -> HandPipelineOutput | tuple:
        """Sample hands.

        Args:
            images: one or a list: path, PIL.Image or (H, W, 3) uint8 RGB array. None where `keypoints_2d` stand in.
            handedness: "left" or "right", or one an image. Left hands are mirrored on the way in and out. Leave it out
                where the hands are detected.
            boxes: (B, 4) xyxy px round the hands; the crop is 1.4 times the longer side. None: the whole image is
                the crop. "detect": every hand of every image, with the side that the detector sees; B is then the
                number of hands, and `image_indices` and `boxes` of the answer say which is which.
            keypoints_2d: (B, 21, 2) px, NaN = not seen: replaces the built-in estimate.
            keypoint_scores: (B, 21) 0..1, how exact each of `keypoints_2d` is: 1 is exact, a half is an error of a
                fortieth of the hand's size, 0 is not seen. None: 1 where seen.
            intrinsics: (B, 3, 3) px of the photos: enables `translation`. None: the crop is taken to span
                `camera.DEFAULT_FIELD_OF_VIEW_DEG` = 25 degrees, looked at straight on.
            num_hypotheses: hands an image.
            num_inference_steps: denoising steps of stage 1; None: what the checkpoint was tuned for.
            num_mesh_inference_steps: those of stage 2; None likewise.
            guidance_scale: classifier-free guidance of both stages; None likewise.
            aggregation: "fitted", a posed hand near the mean and the 2D points, with its parameters; or "mean",
                "median" (geometric), "medoid", or "aligned": the mean of the hypotheses turned upon each other.
            generator: torch.Generator, an int seed, or a list with one an image. Hypothesis k depends on the seed
                and k alone, not on how many are asked for nor on the other images.
            output_type: "np" or "pt".
            return_dict: False: a tuple of the fields that are not None instead.
            joint_noise: (B, N, 21, 3) standard normal, what stage 1 starts from; None: drawn by `generator`.
            mesh_noise: (B, N, T, C) standard normal, what stage 2 starts from; None likewise.
            callback_on_step_end: called as callback(pipeline, step, timestep, tensors) after every denoising step;
                `tensors` is {"joints": sample} in stage 1 and {"latents": sample} in stage 2, and may be returned,
                changed. A `PipelineCallback` of diffusers that asks for such tensors is one.
            keypoint_cov: (B, 21, 2, 2) px², the covariances of `keypoints_2d`, in place of `keypoint_scores`.
            fit: "all" fits a posed hand to every hypothesis too: `hypothesis_parameters`.
            hand_length_m: m, a number or one an image: how long the flat hand is from the wrist joint, in the middle
                of the wrist, to the tip of the middle finger. Sets the size of the answer and of all that is in
                metres: see `metric_scale`. By the parameters of the answer, with "fitted", that is its length exactly;
                with another aggregation the bones of the answer's middle finger, from the wrist on, add up to it.
            wrist_depth_m: m, a number or one an image, in its place: z of the answer's wrist in the camera frame, by
                `intrinsics` or, without them, by the default camera.
            last_keypoints_2d: (B, 21, 2) px, in a video: where the keypoints of the same hands were a moment ago. The
                image encoder looks there at once instead of searching the crop, which halves its time.

        Returns:
            [`HandPipelineOutput`].

        Raises:
            InputError: a bad argument, named in one sentence.
        """
        # 1. Check the arguments; left hands become right ones.
        steps = {"num_inference_steps": num_inference_steps, "num_mesh_inference_steps": num_mesh_inference_steps}
        check_sampling(num_hypotheses, steps, aggregation, output_type, guidance_scale, fit)
        self.check_fit(aggregation, fit)
        hands = hands_to_sample(self.hand_detector, images, handedness, boxes, keypoints_2d, intrinsics, generator)
        request = hands.request(keypoints_2d, keypoint_scores, None, keypoint_cov, last_keypoints_2d)
        size = check_metric_size(hand_length_m, wrist_depth_m, hands, request)
        seeds = base_seeds(hands.generator, len(request.handedness))

        # 2. The image encoder, once an image.
        device = self._execution_device
        encoding = self.encode_image(request, device)

        # 3. Stage 1: joints from 2D keypoints.
        hypotheses = self.sample_joints(
            encoding,
            seeds,
            num_hypotheses,
            num_inference_steps,
            guidance_scale,
            joint_noise,
            callback_on_step_end,
            device,
        )

        # 4. Stage 2: a mesh for each joint hypothesis.
        vertices, joints = self.sample_meshes(
            hypotheses,
            encoding,
            seeds,
            num_hypotheses,
            num_mesh_inference_steps,
            guidance_scale,
            mesh_noise,
            callback_on_step_end,
            device,
        )

        # 5. Back to the caller's frame, and to one answer.
        own_noise = joint_noise is not None or mesh_noise is not None
        calibrated = self.is_calibrated(
            aggregation, num_inference_steps, num_mesh_inference_steps, guidance_scale, own_noise
        )
        output = self.to_output(
            request, encoding, encoding.view.rotation, joints, vertices, hypotheses, aggregation, calibrated, fit, size
        )
        return output.finish(output_type, return_dict)
