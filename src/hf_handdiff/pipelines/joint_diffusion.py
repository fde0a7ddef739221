"""Stage 1 by itself: photo or 2D keypoints -> hypotheses of 3D joints."""

from hf_handdiff.models import HandDetector, HandImageEncoder, JointDenoiser
from hf_handdiff.pipelines.base import HandPipeline
from hf_handdiff.pipelines.defaults import DEFAULT_AGGREGATION, NUM_HYPOTHESES
from hf_handdiff.pipelines.image_processor import HandImageProcessor
from hf_handdiff.pipelines.inputs import check_sampling, hands_to_sample
from hf_handdiff.pipelines.metric_size import check_metric_size
from hf_handdiff.pipelines.outputs import HandPipelineOutput
from hf_handdiff.pipelines.sampling import base_seeds
from hf_handdiff.pipelines.schedulers import check_scheduler


class JointDiffusionPipeline(HandPipeline):
    """Samples 3D joints from 2D conditions. Loads from a cascade's checkpoint as well as from one of its own.

    Args:
        image_encoder: finds the 2D keypoints; not used where the caller brings them.
        joint_denoiser: the network of stage 1.
        joint_scheduler: its schedule; x0-prediction, no clipping.
        num_inference_steps: default of the call.
        guidance_scale: default of the call.
        joint_noise_scale: the noise that stage 1 starts from is this many times the unit noise that it was trained
            with: above 1 its hypotheses lie farther apart. Tuned on validation data.
        hand_detector: finds hands in whole photos for `boxes="detect"`; None: it cannot be asked for.
        image_processor: cuts the crops out of the photos; None: one of the image encoder's size.
    """

    _optional_components = ["hand_detector", "image_processor"]
    model_cpu_offload_seq = "image_encoder->joint_denoiser"

    def __init__(
        self,
        image_encoder: HandImageEncoder,
        joint_denoiser: JointDenoiser,
        joint_scheduler,
        num_inference_steps: int = 10,
        guidance_scale: float = 1.0,
        joint_noise_scale: float = 1.0,
        hand_detector: HandDetector | None = None,
        image_processor: HandImageProcessor | None = None,
    ):
        super().__init__()
        check_scheduler(joint_scheduler, "joint_scheduler")
        self.register_modules(
            image_encoder=image_encoder,
            joint_denoiser=joint_denoiser,
            joint_scheduler=joint_scheduler,
            hand_detector=hand_detector,
            image_processor=image_processor or HandImageProcessor(image_encoder.config.image_size),
        )
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
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
        guidance_scale: float | None = None,
        aggregation: str = DEFAULT_AGGREGATION,
        generator=None,
        output_type: str = "np",
        return_dict: bool = True,
        joint_noise=None,
        callback_on_step_end=None,
        keypoint_cov=None,
        fit: str | None = None,
        hand_length_m=None,
        wrist_depth_m=None,
        last_keypoints_2d=None,
    ) -> HandPipelineOutput | tuple:
        """Sample joints; the arguments are those of [`CascadedHandPipeline`].

        `images` may be None where `keypoints_2d` are given.

        Returns:
            [`HandPipelineOutput`] with `joints` (and `joint_hypotheses`, the same) and without meshes.

        Raises:
            InputError: a bad argument, named in one sentence.
        """
        check_sampling(
            num_hypotheses, {"num_inference_steps": num_inference_steps}, aggregation, output_type, guidance_scale, fit
        )
        self.check_fit(aggregation, fit)
        hands = hands_to_sample(self.hand_detector, images, handedness, boxes, keypoints_2d, intrinsics, generator)
        request = hands.request(keypoints_2d, keypoint_scores, None, keypoint_cov, last_keypoints_2d)
        size = check_metric_size(hand_length_m, wrist_depth_m, hands, request)
        seeds = base_seeds(hands.generator, len(request.handedness))
        encoding = self.encode_image(request)
        joints = self.sample_joints(
            encoding, seeds, num_hypotheses, num_inference_steps, guidance_scale, joint_noise, callback_on_step_end
        )
        output = self.to_output(
            request,
            encoding,
            encoding.view.rotation,
            joints,
            None,
            joints,
            aggregation,
            calibrated=False,
            fit=fit,
            size=size,
        )
        return output.finish(output_type, return_dict)
