"""What the three pipelines share: the steps that their calls put in order."""

from functools import partial

import torch
from tqdm.auto import tqdm

from hf_handdiff.errors import InputError
from hf_handdiff.pipelines.answering import AnsweringPipeline
from hf_handdiff.pipelines.doubts import warn_of_doubts
from hf_handdiff.pipelines.image_encoding import ImageEncoding, encode_image, stage2_conditions
from hf_handdiff.pipelines.inputs import HandRequest
from hf_handdiff.pipelines.sampling import (
    draw_keypoints,
    draw_noise,
    hypothesis_generators,
    sample_joints,
    sample_meshes,
)
from hf_handdiff.pipelines.schedulers import check_scheduler

STAGE_KEYPOINTS, STAGE_JOINTS, STAGE_MESH = 0, 1, 2  # they also keep the noise of the stages apart
CALLBACK_TENSORS = {STAGE_JOINTS: "joints", STAGE_MESH: "latents"}


class HandPipeline(AnsweringPipeline):
    """Base of the three pipelines; not used by itself."""

    # Small, and they read weights outside of their layers' `forward`, where sequential offload does not bring them in.
    _exclude_from_cpu_offload = ["image_encoder", "hand_detector"]

    @property
    def components(self) -> dict:
        """Modules and settings, so that `CascadedHandPipeline(**pipe.components)` samples as `pipe` does."""
        settings = {name: self.config[name] for name in self._get_signature_keys(self)[1] if name in self.config}
        return {**super().components, **settings}

    @property
    def parameters(self) -> dict:
        """Nothing: the settings are among the `components` already."""
        return {}

    def encode_image(self, request: HandRequest, device: torch.device | None = None) -> ImageEncoding:
        """2D keypoints, hand score and image conditions of all crops, once an image.

        Here and below, `device` is `self._execution_device`, which looks through all modules: found once a call.
        """
        device, detector = device or self._execution_device, getattr(self, "hand_detector", None)
        encoding = encode_image(self.image_encoder, self.image_processor, request, device, detector)
        warn_of_doubts(request, encoding.side_score, encoding.keypoint_agreement, encoding.encoded)
        return encoding

    def sample_joints(
        self,
        encoding: ImageEncoding,
        seeds: list[int],
        num_hypotheses: int,
        num_steps: int | None,
        guidance_scale: float | None,
        noise=None,
        callback=None,
        device: torch.device | None = None,
    ) -> torch.Tensor:
        """Stage 1: (B, N, 21, 3) m, view frame, on the CPU."""
        check_scheduler(self.joint_scheduler, "joint_scheduler")
        shape = (self.joint_denoiser.config.num_joints, 3)
        generators = hypothesis_generators(seeds, num_hypotheses, STAGE_JOINTS)
        start = draw_noise(generators, len(seeds), shape)
        if noise is not None:
            start = _checked_noise(noise, "joint_noise", start.shape)
        view = encoding.view
        draws = hypothesis_generators(seeds, num_hypotheses, STAGE_KEYPOINTS)
        points = draw_keypoints(view.points, encoding.view_distribution, draws)
        return sample_joints(
            self.joint_denoiser,
            self.joint_scheduler,
            self.config.joint_noise_scale * start,
            points,
            view.scores,
            view.scale,
            self._steps(num_steps, "num_inference_steps"),
            self._guidance(guidance_scale),
            view_middle=view.middle,
            device=device or self._execution_device,
            generators=generators,
            **self._loop_hooks(STAGE_JOINTS, callback),
        ).cpu()

    def sample_meshes(
        self,
        joints: torch.Tensor | None,
        encoding: ImageEncoding | None,
        seeds: list[int],
        num_hypotheses: int,
        num_steps: int | None,
        guidance_scale: float | None,
        noise=None,
        callback=None,
        device: torch.device | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stage 2: vertices (B, N, V, 3) and joints (B, N, 21, 3), m, view frame, on the CPU."""
        check_scheduler(self.mesh_scheduler, "mesh_scheduler")
        generators = hypothesis_generators(seeds, num_hypotheses, STAGE_MESH)
        start = draw_noise(generators, len(seeds), self.mesh_autoencoder.latent_shape)
        if noise is not None:
            start = _checked_noise(noise, "mesh_noise", start.shape)
        vertices, joints = sample_meshes(
            self.mesh_latent_denoiser,
            self.mesh_autoencoder,
            self.mesh_scheduler,
            start,
            joints,
            stage2_conditions(self.image_encoder, encoding, joints),
            self._steps(num_steps, "num_mesh_inference_steps"),
            self._guidance(guidance_scale),
            device=device or self._execution_device,
            generators=generators,
            **self._loop_hooks(STAGE_MESH, callback),
        )
        return vertices.cpu(), joints.cpu()

    def _steps(self, given: int | None, name: str) -> int:
        return int(self.config[name] if given is None else given)

    def _guidance(self, given: float | None) -> float:
        return float(self.config.guidance_scale if given is None else given)

    def _loop_hooks(self, stage: int, callback) -> dict:
        """`progress` and `on_step` for the denoising loop of one stage."""
        name = CALLBACK_TENSORS[stage]

        def on_step(index, timestep, sample):
            if callback is None:
                return sample
            changed = callback(self, index, int(timestep), {name: sample})
            return sample if not changed else changed.get(name, sample)

        bars = dict(getattr(self, "_progress_bar_config", {}))
        bars.setdefault("desc", f"stage {stage}, {name}")
        bars.setdefault("leave", False)
        return {"progress": partial(tqdm, **bars), "on_step": on_step}


def _checked_noise(noise, name: str, shape: torch.Size) -> torch.Tensor:
    expected = f"{name}: expected standard normal noise of shape {tuple(shape)}"
    try:
        values = torch.as_tensor(noise, dtype=torch.float32, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{expected}, got something that is not an array of numbers") from None
    if values.shape != shape or not torch.isfinite(values).all():
        found = f"shape {tuple(values.shape)}" if values.shape != shape else "NaN or infinity"
        raise InputError(f"{expected}, got {found}")
    return values
