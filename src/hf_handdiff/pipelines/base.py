"""What the three pipelines share: defaults, noise, progress, and the way back to the caller's frame."""

import json
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from hf_handdiff.camera import fit_translation
from hf_handdiff.errors import InputError, StorageError
from hf_handdiff.hub.checkpoint_folders import saving
from hf_handdiff.hub.checkpoints import (
    HUB_OPTIONS,
    check_folder,
    component_loads,
    download_checkpoint,
    looks_like_a_folder,
)
from hf_handdiff.hub.push import push_checkpoint
from hf_handdiff.hub.registration import register
from hf_handdiff.pipelines.aggregation import aggregate, calibrated_std, region_radius, spread
from hf_handdiff.pipelines.image_conditions import Perception, perceive
from hf_handdiff.pipelines.inputs import HandRequest, mirror_hands, mirror_pixels
from hf_handdiff.pipelines.outputs import HandPipelineOutput
from hf_handdiff.pipelines.sampling import hypothesis_noise, sample_joints, sample_meshes

register()

STAGE_JOINTS, STAGE_MESH = 1, 2  # they also keep the noise of the stages apart
PIPELINE_FILE = '''"""What diffusers runs for `custom_pipeline`: the class itself lives in the package."""

from hf_handdiff import {name}  # noqa: F401
'''


class HandPipeline(DiffusionPipeline):
    """Base of the three pipelines; not used by itself. Its methods are the steps that the pipelines put in order."""

    @classmethod
    def extract_init_dict(cls, config_dict, **kwargs):
        """Take what this pipeline needs out of a checkpoint: a cascade's holds more than a single stage does."""
        known = {key: value for key, value in config_dict.items() if key[0] == "_" or key in cls._get_init_keys(cls)}
        return super().extract_init_dict(known, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a folder that `save_pretrained` wrote, or a Hub repository "owner/name".

        Args:
            pretrained_model_name_or_path: the folder or the repository; a single stage also loads from a cascade's.
            **kwargs: those of `diffusers.DiffusionPipeline.from_pretrained` (torch_dtype, revision, variant, …).

        Raises:
            StorageError: an `OSError` and `ValueError` of one sentence: the folder or the repository is not there,
                files in it are missing, damaged or foreign, the token is refused, or the Hub cannot be reached and
                the cache does not hold the checkpoint.
        """
        source, variant = pretrained_model_name_or_path, kwargs.get("variant")
        own = set(cls._get_signature_keys(cls)[0]) - {"self", *cls._optional_components, *kwargs}
        needed = tuple(sorted(own))
        if os.path.isdir(source):
            folder = Path(source)
        elif looks_like_a_folder(source):
            raise StorageError(f"checkpoint: expected a folder or a Hub repository owner/name, but {source} is neither")
        else:
            folder = download_checkpoint(cls.download, str(source), needed, kwargs)
            kwargs = {name: value for name, value in kwargs.items() if name not in HUB_OPTIONS}
        check_folder(folder, needed, variant, source)
        try:
            pipeline = super().from_pretrained(str(folder), **kwargs)
        except (OSError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
            broken = next((name for name in needed if not component_loads(folder, name, variant)), "a component")
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise StorageError(f"checkpoint: {broken} in {source} cannot be loaded: {first_line}") from error
        pipeline.register_to_config(_name_or_path=str(source))
        return pipeline

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        **kwargs,
    ) -> None:
        """Save the pipeline as a folder that `from_pretrained` loads, whole or not at all.

        `pipeline.py` goes with it: with it plain `DiffusionPipeline.from_pretrained` finds the class.

        Args:
            save_directory: the folder; what else is in it stays.
            safe_serialization: only True: weights are never pickled.
            variant: such as "fp16": part of the name of the weights, which may then lie beside others.
            max_shard_size: weights beyond it are split into several files.
            push_to_hub: push it too, as `repo_id` in `kwargs` or by the folder's name.
            **kwargs: of `push_to_hub`.

        Raises:
            InputError: `safe_serialization` is False.
            StorageError: the disk is full, or the folder cannot be written; it is then as it was.
        """
        if not safe_serialization:
            raise InputError("safe_serialization: expected True, weights are saved as safetensors alone")
        with saving(save_directory) as folder:
            super().save_pretrained(folder, variant=variant, max_shard_size=max_shard_size)
            (folder / "pipeline.py").write_text(PIPELINE_FILE.format(name=type(self).__name__))
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", Path(os.path.abspath(save_directory)).name)
            push_checkpoint(Path(save_directory), repo_id, **kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        create_pr: bool = False,
        variant: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Push the pipeline to the Hub in one commit, with its card where the repository has none.

        Args:
            repo_id: "owner/name", or "name" for your own namespace; made if it is not there.
            commit_message: None: "Upload" and the name of the class.
            private: whether a new repository is private.
            token: None: that of `hf auth login`.
            create_pr: open a pull request instead.
            variant: such as "fp16": part of the name of the weights, which may then lie beside others.
            revision: branch to push to, made if it is not there; None: main.

        Returns:
            The commit's address.

        Raises:
            StorageError: the token is refused, the Hub cannot be reached, or it refuses; nothing was pushed.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, variant=variant)
            return push_checkpoint(
                Path(folder),
                repo_id,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                private=private,
                token=token,
                create_pr=create_pr,
                revision=revision,
            )

    def _steps(self, given: int | None, name: str = "num_inference_steps") -> int:
        return int(self.config[name] if given is None else given)

    def _guidance(self, given: float | None) -> float:
        return float(self.config.guidance_scale if given is None else given)

    def _perceive(self, request: HandRequest) -> Perception:
        return perceive(self.image_encoder, request)

    def _loop_hooks(self, stage: str, callback) -> dict:
        """`progress` and `on_step` for the denoising loop of one stage."""

        def on_step(index, timestep, sample):
            if callback is None:
                return sample
            changed = callback(self, index, int(timestep), {"stage": stage, "sample": sample})
            return sample if not changed else changed.get("sample", sample)

        bars = dict(getattr(self, "_progress_bar_config", {}))
        bars.setdefault("desc", f"stage {stage}")
        bars.setdefault("leave", False)
        return {"progress": partial(_progress_bar, config=bars), "on_step": on_step}

    def _sample_joints(self, perception, seeds, num_hypotheses, num_steps, guidance_scale, callback) -> torch.Tensor:
        """Stage 1: (B, N, 21, 3) m, view frame."""
        shape = (self.joint_denoiser.config.num_joints, 3)
        view = perception.view
        return sample_joints(
            self.joint_denoiser,
            self.joint_scheduler,
            self.config.joint_noise_scale * hypothesis_noise(seeds, num_hypotheses, shape, STAGE_JOINTS),
            view.points,
            view.scores,
            view.scale,
            num_steps,
            guidance_scale,
            **self._loop_hooks("joints", callback),
        )

    def _sample_meshes(self, joints, cues, seeds, num_hypotheses, num_steps, guidance_scale, callback):
        """Stage 2: vertices (B, N, V, 3) and joints (B, N, 21, 3), m, view frame."""
        return sample_meshes(
            self.mesh_latent_denoiser,
            self.mesh_autoencoder,
            self.mesh_scheduler,
            hypothesis_noise(seeds, num_hypotheses, self.mesh_autoencoder.latent_shape, STAGE_MESH),
            joints,
            cues,
            num_steps,
            guidance_scale,
            **self._loop_hooks("mesh", callback),
        )

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

    def _joint_std(self, joints: torch.Tensor) -> torch.Tensor:
        """(B, 21) m: calibrated on validation data where the checkpoint carries a calibration."""
        calibration = self.config.get("joint_std_calibration")
        raw = spread(joints)
        if not calibration:
            return raw
        if joints.shape[1] == 1:  # one hypothesis has no spread: what single ones were off by on average
            return torch.tensor(calibration["single_m"]).expand(raw.shape).clone()
        return calibrated_std(raw, torch.tensor(calibration["scale"]), torch.tensor(calibration["floor_m"]))

    def _finish(
        self,
        request: HandRequest,
        perception: Perception | None,
        rotation: torch.Tensor,
        joints: torch.Tensor,
        vertices: torch.Tensor | None,
        hypotheses: torch.Tensor | None,
        aggregation: str,
        output_type: str,
    ) -> HandPipelineOutput:
        """From the view frame of right hands back to the caller's cameras, pixels and sides, and to one answer.

        `rotation` (B, 3, 3) leads from the camera to the view; joints, vertices, hypotheses are (B, N, ., 3) m.
        """

        def to_camera(points):
            return None if points is None else points @ rotation[:, None]  # rows times R = R^T on columns

        joints, vertices, hypotheses = to_camera(joints), to_camera(vertices), to_camera(hypotheses)
        translation = None
        if request.has_intrinsics and perception is not None:
            translation = fit_translation(
                joints,
                perception.keypoints_px[:, None],
                request.intrinsics[:, None],
                perception.scores.square()[:, None],
            )
        left = request.is_left
        joints, vertices, hypotheses, translation = (
            mirror_hands(points, left) for points in (joints, vertices, hypotheses, translation)
        )
        mean_joints, mean_vertices = aggregate(joints, vertices, aggregation)
        output = HandPipelineOutput(
            joints=joints,
            vertices=vertices,
            joint_hypotheses=hypotheses,
            mean_joints=mean_joints,
            mean_vertices=mean_vertices,
            joint_std=self._joint_std(joints),
            translation=translation,
            faces=None if vertices is None else self.mesh_autoencoder.faces.cpu().clone(),
            handedness=request.handedness,
            image_indices=request.image_indices,
            boxes=request.boxes,
            **({} if perception is None else self._in_pixels(request, perception)),
        )
        return output.as_numpy() if output_type == "np" else output

    @staticmethod
    def _in_pixels(request: HandRequest, perception: Perception) -> dict:
        """What the 2D side found, in pixels of the photos as they were given."""
        left = request.is_left
        crops = request.crops.clone()
        crops[left, 0] = request.widths[left] - crops[left, 0]
        return {
            "keypoints_2d": mirror_pixels(perception.keypoints_px, request.widths, left),
            "keypoint_scores": perception.scores,
            "hand_score": perception.hand_score,
            "crops": crops,
        }


def _progress_bar(iterable, config: dict):
    from tqdm.auto import tqdm

    return tqdm(iterable, **config)
