"""The four networks as functions of plain named tensors, which is all that an ONNX file knows.

The models take and return dataclasses where that reads better; here every tensor gets a name, a shape, a type and a
meaning, which the export writes down beside the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hf_handdiff.models.mesh_latent_denoiser import ImageConditions


@dataclass(frozen=True)
class NamedTensor:
    """An input or output of a network.

    Attributes:
        name: as in the ONNX file.
        shape: without the batch axis, which comes first and may be of any size.
        meaning: what it holds, with its unit and frame.
        dtype: "float32", "int64" or "bool".
    """

    name: str
    shape: tuple[int, ...]
    meaning: str
    dtype: str = "float32"

    def example(self, batch: int, generator: torch.Generator) -> torch.Tensor:
        """(batch, *shape) some values that the network can work with: 0..1, a diffusion step, or true."""
        shape = (batch, *self.shape)
        if self.dtype == "int64":
            return torch.randint(0, 1000, shape, generator=generator)
        if self.dtype == "bool":
            return torch.ones(shape, dtype=torch.bool)
        return torch.rand(shape, generator=generator)


@dataclass(frozen=True)
class NetworkGraph:
    """One network, ready to be exported.

    Attributes:
        name: of the component of the pipeline.
        module: takes the inputs in their order and returns the outputs, a tuple, in theirs.
        inputs, outputs: what they are.
    """

    name: str
    module: nn.Module
    inputs: tuple[NamedTensor, ...]
    outputs: tuple[NamedTensor, ...]

    def example_inputs(self, batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Values of the inputs, `batch` rows each; the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(tensor.example(batch, generator) for tensor in self.inputs)


class _Encoder(nn.Module):
    def __init__(self, image_encoder: nn.Module):
        super().__init__()
        self.image_encoder = image_encoder

    def forward(self, pixel_values):
        encoded = self.image_encoder(pixel_values)
        distribution = () if encoded.distribution is None else (encoded.keypoint_factors, encoded.keypoint_noise)
        return (
            encoded.keypoints,
            encoded.keypoint_scores,
            encoded.hand_logit,
            encoded.joints,
            self.image_encoder.sample_features(encoded, encoded.keypoints),
            encoded.global_features,
            encoded.feature_map,
            encoded.frame.centre,
            encoded.frame.side,
            encoded.frame.angle,
            *distribution,
        )


class _JointDenoiser(nn.Module):
    def __init__(self, joint_denoiser: nn.Module):
        super().__init__()
        self.joint_denoiser = joint_denoiser

    def forward(self, sample, timestep, keypoints, keypoint_scores, view_scale, condition_mask, view_middle=None):
        conditions = (keypoints, keypoint_scores, view_scale, condition_mask, view_middle)
        return (self.joint_denoiser(sample, timestep, *conditions),)


class _MeshLatentDenoiser(nn.Module):
    def __init__(self, mesh_latent_denoiser: nn.Module):
        super().__init__()
        self.mesh_latent_denoiser = mesh_latent_denoiser

    def forward(self, sample, timestep, joints, joints_mask, image_mask, *conditions):
        return (
            self.mesh_latent_denoiser(sample, timestep, joints, ImageConditions(*conditions), joints_mask, image_mask),
        )


class _MeshDecoder(nn.Module):
    """The decoder with what the pipeline does to its meshes: the joints are read off and the wrist put at 0."""

    def __init__(self, mesh_autoencoder: nn.Module):
        super().__init__()
        self.mesh_autoencoder = mesh_autoencoder

    def forward(self, latents):
        vertices = self.mesh_autoencoder.decode(latents)
        joints = self.mesh_autoencoder.joints_from_vertices(vertices)
        return vertices - joints[:, :1], joints - joints[:, :1]


def network_graphs(pipeline: Any) -> list[NetworkGraph]:
    """The four networks of a `CascadedHandPipeline`, in the order in which it runs them."""
    return [
        _image_encoder_graph(pipeline.image_encoder),
        _joint_denoiser_graph(pipeline.joint_denoiser),
        _mesh_latent_denoiser_graph(pipeline.mesh_latent_denoiser),
        _mesh_decoder_graph(pipeline.mesh_autoencoder),
    ]


def _image_encoder_graph(image_encoder: nn.Module) -> NetworkGraph:
    config = image_encoder.config
    size, channels, side = config.image_size, config.point_feature_size, config.feature_size
    inputs = (NamedTensor("pixel_values", (3, size, size), "crop of a right hand, RGB, 0..1"),)
    outputs = (
        NamedTensor("keypoints", (21, 2), "2D keypoints x, y in crop units: 0..1 across the crop"),
        NamedTensor("keypoint_scores", (21,), "probability that the joint is directly visible, 0..1"),
        NamedTensor("hand_logit", (), "the sigmoid of it is the probability that there is a hand"),
        NamedTensor("joints", (21, 3), "encoder's 3D joints, m, wrist at 0, x right, y down, z away from the camera"),
        NamedTensor("point_features", (21, channels), "the feature map under the keypoints"),
        NamedTensor("global_features", (config.global_feature_size,), "features of the whole hand"),
        NamedTensor("feature_map", (channels, side, side), "features over the square of the next three outputs"),
        NamedTensor("frame_centre", (2,), "centre x, y of the square that was looked at, crop units"),
        NamedTensor("frame_side", (), "its side, crop units"),
        NamedTensor("frame_angle", (), "rad by which the picture was turned upright, x towards y"),
    )
    if config.keypoint_factors is not None:
        drawn = "a draw is keypoints + factors z, z of a t distribution with 5 degrees of freedom, crop units"
        outputs += (
            NamedTensor("keypoint_factors", (21, 2, config.keypoint_factors), drawn),
            NamedTensor("keypoint_noise", (21,), "standard deviation that each keypoint has by itself, crop units"),
        )
    return NetworkGraph("image_encoder", _Encoder(image_encoder), inputs, outputs)


def _keypoint_tensors(joints: int) -> tuple[NamedTensor, ...]:
    """What both denoisers read of the 2D keypoints."""
    return (
        NamedTensor("keypoints", (joints, 2), "2D keypoints in the view frame, half extent 1"),
        NamedTensor("keypoint_scores", (joints,), "confidence 0..1; 0 means not seen"),
        NamedTensor("view_scale", (), "tangent of the half angle that the keypoints span"),
    )


def _joint_denoiser_graph(joint_denoiser: nn.Module) -> NetworkGraph:
    config = joint_denoiser.config
    joints, unit = config.num_joints, f"units of {config.joint_scale} m, wrist-relative, view frame"
    inputs = (
        NamedTensor("sample", (joints, 3), f"noisy joints, {unit}"),
        NamedTensor("timestep", (), "diffusion step, 0..999", "int64"),
        *_keypoint_tensors(joints),
        NamedTensor("condition_mask", (), "false where the keypoints are to be ignored", "bool"),
    )
    if config.consistency:
        inputs += (NamedTensor("view_middle", (2,), "tangents of the middle of the keypoints, in the view frame"),)
    outputs = (NamedTensor("clean_sample", (joints, 3), f"predicted clean joints, {unit}"),)
    return NetworkGraph("joint_denoiser", _JointDenoiser(joint_denoiser), inputs, outputs)


def _mesh_latent_denoiser_graph(mesh_latent_denoiser: nn.Module) -> NetworkGraph:
    config = mesh_latent_denoiser.config
    joints, latent = config.num_joints, (config.latent_tokens, config.latent_channels)
    inputs = (
        NamedTensor("sample", latent, "noisy normalised mesh latents"),
        NamedTensor("timestep", (), "diffusion step, 0..999", "int64"),
        NamedTensor("joints", (joints, 3), "one joint hypothesis, m, wrist-relative, view frame"),
        NamedTensor("joints_mask", (), "false where the joints are to be ignored", "bool"),
        NamedTensor("image_mask", (), "false where all that follows is to be ignored", "bool"),
        NamedTensor("has_image", (), "1, or 0 where only keypoints are known and the next three are zeros"),
        NamedTensor("point_features", (joints, config.point_feature_size), "of the image encoder"),
        NamedTensor("global_features", (config.global_feature_size,), "of the image encoder"),
        NamedTensor("encoder_joints", (joints, 3), "joints of the image encoder, m, turned to the view frame"),
        *_keypoint_tensors(joints),
    )
    outputs = (NamedTensor("clean_sample", latent, "predicted clean mesh latents"),)
    return NetworkGraph("mesh_latent_denoiser", _MeshLatentDenoiser(mesh_latent_denoiser), inputs, outputs)


def _mesh_decoder_graph(mesh_autoencoder: nn.Module) -> NetworkGraph:
    config = mesh_autoencoder.config
    frame = "m, wrist at 0, view frame"
    inputs = (NamedTensor("latents", tuple(mesh_autoencoder.latent_shape), "normalised mesh latents"),)
    outputs = (
        NamedTensor("vertices", (config.num_vertices, 3), frame),
        NamedTensor("joints", (config.num_joints, 3), f"read off the mesh, {frame}"),
    )
    return NetworkGraph("mesh_decoder", _MeshDecoder(mesh_autoencoder), inputs, outputs)
