"""Stage 2's network: from a noisy mesh latent, one joint sample and image features to a clean latent."""

from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from hf_handdiff.camera import log_view_scale
from hf_handdiff.models.base import HandModel, HandModelConfig
from hf_handdiff.models.joint_denoiser import JointDenoiser
from hf_handdiff.models.residual_mlp import ResidualMLP


@strict
class MeshLatentDenoiserConfig(HandModelConfig):
    """Configuration of a [`MeshLatentDenoiser`].

    You will most likely change `hidden_size` and `num_blocks`; the other sizes follow from the autoencoder and
    the image encoder that it works with.

    Args:
        hidden_size: width of the residual MLP.
        num_blocks: residual blocks.
        time_embedding_size: size of the sinusoidal embedding of the diffusion time.
        latent_tokens: tokens of the mesh autoencoder's latent.
        latent_channels: channels of each latent token.
        num_joints: joints of one hypothesis of stage 1.
        joint_scale: metres per unit when joints enter the network.
        point_feature_size: channels of the encoder's feature map, sampled at each 2D keypoint.
        point_projection_size: channels to which each sampled feature is reduced.
        global_feature_size: size of the encoder's global feature.
        global_projection_size: size to which the global feature is reduced; None: a quarter of `hidden_size`.
    """

    model_type = "handdiff_mesh_latent_denoiser"

    hidden_size: int = 704
    num_blocks: int = 4
    time_embedding_size: int = 128
    latent_tokens: int = 24
    latent_channels: int = 4
    num_joints: int = 21
    joint_scale: float | int = 0.07
    point_feature_size: int = 64
    point_projection_size: int = 32
    global_feature_size: int = 256
    global_projection_size: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.global_projection_size is None:  # so it was in checkpoints that do not name it
            self.global_projection_size = self.hidden_size // 4


@dataclass
class ImageConditions:
    """What stage 2 reads of an image; computed once per image, shared by its hypotheses.

    Attributes:
        has_image: (B,) 1, or 0 where only 2D keypoints are known; the next three are zeros there.
        point_features: (B, 21, C) the feature map sampled at the 2D keypoints.
        global_features: (B, G) one vector for the whole crop.
        encoder_joints: (B, 21, 3) m, the encoder's own 3D estimate, wrist-relative, view frame.
        keypoints: (B, 21, 2) 2D points in the view frame, half extent 1.
        keypoint_scores: (B, 21) 0..1.
        view_scale: (B,) tangent of the half angle that the points span.
        view_middle: (B, 2) tangents of the view's middle, which stage 1 reads; None: 0.
    """

    has_image: torch.Tensor
    point_features: torch.Tensor
    global_features: torch.Tensor
    encoder_joints: torch.Tensor
    keypoints: torch.Tensor
    keypoint_scores: torch.Tensor
    view_scale: torch.Tensor
    view_middle: torch.Tensor | None = None

    def repeat(self, times: int) -> "ImageConditions":
        """Each image `times` times in a row: (B, ...) -> (B * times, ...)."""
        return self._with_each(lambda value: value.repeat_interleave(times, dim=0))

    def to(self, *args, **kwargs) -> "ImageConditions":
        """`torch.Tensor.to` on every field."""
        return self._with_each(lambda value: value.to(*args, **kwargs))

    def _with_each(self, function) -> "ImageConditions":
        return ImageConditions(*(None if value is None else function(value) for value in vars(self).values()))


class MeshLatentDenoiser(HandModel):
    """Predicts the clean mesh latent (x0) of stage 2 in the view frame of the keypoints."""

    config_class = MeshLatentDenoiserConfig
    base_model_prefix = "mesh_latent_denoiser"
    main_input_name = "sample"

    def __init__(self, config: MeshLatentDenoiserConfig):
        super().__init__(config)
        joints, latent = config.num_joints, config.latent_tokens * config.latent_channels
        self.reduce_points = nn.Sequential(
            nn.LayerNorm(config.point_feature_size),
            nn.Linear(config.point_feature_size, config.point_projection_size),
        )
        self.reduce_global = nn.Sequential(
            nn.LayerNorm(config.global_feature_size),
            nn.Linear(config.global_feature_size, config.global_projection_size),
        )
        self._image_size = joints * config.point_projection_size + config.global_projection_size + joints * 3
        self._points_size = joints * 3 + 1
        # noisy latent, joints, 2D points, flags that joints and points are known; the image, the flag that it is known
        self.trunk = ResidualMLP(
            latent + joints * 3 + self._points_size + 2 + self._image_size + 1,
            latent,
            config.hidden_size,
            config.num_blocks,
            config.time_embedding_size,
        )
        # Vertices are almost linear in the joints, and latents in the vertices: what is linear goes straight through.
        self.direct = nn.Linear(joints * 3, latent)
        for end in (self.direct, self.trunk.project_out):
            nn.init.zeros_(end.weight)
            nn.init.zeros_(end.bias)
        # What the image adds to the 2D points begins at nothing: started at random it stayed a disturbance for long.
        with torch.no_grad():
            self.trunk.project_in.weight[:, -self._image_size - 1 :] = 0
        self.post_init()

    def _init_weights(self, module):
        """Keep PyTorch's own initialisation: the constructor sets what differs."""

    @torch.no_grad()
    def start_from_joint_denoiser(
        self, joint_denoiser: JointDenoiser, joints: torch.Tensor, latents: torch.Tensor
    ) -> None:
        """Begin as stage 1 does, in the latent space: its network between two least-squares maps.

        Latents and joints are nearly linear in each other, so what stage 1 has learned of lifting 2D points carries
        over. The joint hypothesis and the image are not looked at yet.

        Args:
            joint_denoiser: of the same width, blocks and time embedding.
            joints: (N, 21, 3) m, true ones of many hands.
            latents: (N, T, C) of the same hands.

        Raises:
            ValueError: the networks are not of the same size.
        """
        for name in ("hidden_size", "num_blocks", "time_embedding_size", "num_joints", "joint_scale"):
            own, other = getattr(self.config, name), getattr(joint_denoiser.config, name)
            if own != other:
                raise ValueError(f"joint_denoiser: expected one with {name} {own}, as of this network, got {other}")
        flat = latents.flatten(1)
        to_latents, latents_offset = _linear_map(self._in_units(joints), flat)
        to_joints, joints_offset = _linear_map(flat, self._in_units(joints))
        source, trunk = joint_denoiser.trunk, self.trunk
        for name in ("time", "blocks", "norm"):
            getattr(trunk, name).load_state_dict(getattr(source, name).state_dict())

        # columns of stage 1: noisy joints, 2D points with scores and scale, the flag that these are known
        noisy, points, flag = source.project_in.weight.split([joints[0].numel(), self._points_size, 1], dim=1)
        unread_joints = torch.zeros_like(noisy)
        unread_flag, unread_image = torch.zeros_like(flag), torch.zeros(len(flag), self._image_size + 1)
        columns = [noisy @ to_joints.T, unread_joints, points, unread_flag, flag, unread_image.to(flag)]
        trunk.project_in.weight.copy_(torch.cat(columns, dim=1))
        trunk.project_in.bias.copy_(source.project_in.bias + noisy @ joints_offset)
        trunk.project_out.weight.copy_(to_latents.T @ source.project_out.weight)
        trunk.project_out.bias.copy_(source.project_out.bias @ to_latents + latents_offset)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)

    def _in_units(self, joints: torch.Tensor) -> torch.Tensor:
        """(B, 21, 3) m -> (B, 63) as they enter the network."""
        return (joints / self.config.joint_scale).flatten(1)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        joints: torch.Tensor,
        image: ImageConditions,
        joints_mask: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One denoising estimate.

        Args:
            sample: (B, T, C) noisy normalised latents.
            timestep: (B,) diffusion steps, 0..999.
            joints: (B, 21, 3) m, one joint hypothesis, wrist-relative, view frame.
            image: the image's conditions, B rows.
            joints_mask: (B,) bool, False where the joints are to be ignored. None: all used.
            image_mask: (B,) bool, False where the image's conditions, 2D points included, are to be ignored.

        Returns:
            (B, T, C) predicted clean latents.
        """
        batch, dtype = sample.shape[0], sample.dtype
        everything = torch.ones(batch, dtype=torch.bool, device=sample.device)
        use_joints = (everything if joints_mask is None else joints_mask).to(dtype)[:, None]
        joint_conditions = self._in_units(joints).to(dtype) * use_joints
        point_conditions, use_points, image_conditions, use_image = self.read_image(image, image_mask, dtype)
        known = [
            sample.flatten(1),
            joint_conditions,
            point_conditions,
            use_joints,
            use_points,
            image_conditions,
            use_image,
        ]
        return (self.direct(joint_conditions) + self.trunk(torch.cat(known, dim=-1), timestep)).view(sample.shape)

    def read_image(
        self, image: ImageConditions, image_mask: torch.Tensor | None, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the trunk sees of an image.

        Args:
            image: the image's conditions, B rows.
            image_mask: as in `forward`.
            dtype: of the answer.

        Returns:
            2D points with scores and scale (B, 64), whether they are known (B, 1), image features (B, F) and
            whether these are known (B, 1); zeros where they are not.
        """
        batch, device = image.has_image.shape[0], image.has_image.device
        everything = torch.ones(batch, dtype=torch.bool, device=device)
        use_points = (everything if image_mask is None else image_mask).to(dtype)[:, None]
        use_image = use_points * image.has_image.to(dtype)[:, None]
        scores = image.keypoint_scores.to(dtype)
        points = torch.where(scores[..., None] > 0, image.keypoints, 0).to(dtype)
        scale = log_view_scale(image.view_scale.to(dtype))[:, None]
        point_conditions = torch.cat([points.flatten(1), scores, scale], dim=-1) * use_points
        image_conditions = [
            self.reduce_points(image.point_features.to(dtype)).flatten(1),
            self.reduce_global(image.global_features.to(dtype)),
            self._in_units(image.encoder_joints).to(dtype),
        ]
        return point_conditions, use_points, torch.cat(image_conditions, dim=-1) * use_image, use_image


def _linear_map(known: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares: matrix (I, O) and offset (O,) from known (N, I) to wanted (N, O)."""
    with_one = torch.cat([known, torch.ones_like(known[:, :1])], dim=-1).double()
    # the wrist's columns are always zero: a little ridge keeps the system solvable
    normal = with_one.T @ with_one + 1e-3 * len(known) * torch.eye(with_one.shape[1], dtype=with_one.dtype)
    solution = torch.linalg.solve(normal, with_one.T @ wanted.double()).to(wanted.dtype)
    return solution[:-1], solution[-1]
