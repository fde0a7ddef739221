"""What stage 2 is compared with: diffusion of the vertices themselves, and a regressor that gives one answer.

For research only: checkpoints of the package hold neither.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hf_handdiff.devices import to_device
from hf_handdiff.hand.mesh_kinds import is_open_topology, topology_digest
from hf_handdiff.models import MeshAutoencoder, MeshLatentDenoiser, MeshLatentDenoiserConfig
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions
from hf_handdiff.pipelines.sampling import sample_meshes


class VertexSpace(nn.Module):
    """Stands where the mesh autoencoder stands, and its latents are the vertices: (v - mean mesh) / scale.

    Attributes:
        mean: (V, 3) m.
        scale: () m, one for all coordinates, so that these have about unit variance.
        joint_regressor: (21, V).
        faces: (F, 3) int64; empty of a user's hand, as in the autoencoder.
        topology: the digest of the triangles, as in the autoencoder.
    """

    FILE = "vertex_space.safetensors"

    def __init__(
        self,
        mean: torch.Tensor,
        scale: torch.Tensor,
        joint_regressor: torch.Tensor,
        faces: torch.Tensor,
        topology: str,
    ):
        super().__init__()
        self.mean = nn.Parameter(mean, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.register_buffer("joint_regressor", joint_regressor)
        self.register_buffer("faces", faces)
        self.topology = topology

    @classmethod
    def of_hands(cls, vertices: torch.Tensor, autoencoder: MeshAutoencoder) -> "VertexSpace":
        """With mean and scale of `vertices` (N, V, 3) m; joints and faces are those of `autoencoder`."""
        mean, scale = vertices.mean(0), (vertices - vertices.mean(0)).square().mean().sqrt()
        faces = autoencoder.faces if is_open_topology(autoencoder.faces.cpu()) else autoencoder.faces[:0]
        return cls(mean, scale, autoencoder.joint_regressor.clone(), faces.clone(), autoencoder.topology)

    @classmethod
    def load(cls, folder) -> "VertexSpace":
        """What `save` wrote into `folder`."""
        path = Path(folder) / cls.FILE
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            kept = (file.metadata() or {}).get("topology")
        return cls(**tensors, topology=kept or topology_digest(tensors["faces"]))

    def save(self, folder) -> None:
        """Write it beside the network."""
        save_file(self.state_dict(), Path(folder) / self.FILE, metadata={"topology": self.topology})

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(V, 3)."""
        return tuple(self.mean.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, as models have it."""
        return self.mean.dtype

    @property
    def device(self) -> torch.device:
        """Of the weights, as models have it."""
        return self.mean.device

    def encode(self, vertices: torch.Tensor) -> torch.Tensor:
        """(B, V, 3) m -> (B, V, 3) about unit variance."""
        return (vertices - self.mean) / self.scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, V, 3) about unit variance -> (B, V, 3) m."""
        return latents * self.scale + self.mean


class _PlainBlock(nn.Module):
    """The trunk's block without the diffusion time: h + MLP(norm(h))."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, width)
        self.contract = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + self.contract(nn.functional.gelu(self.expand(self.norm(hidden))))


class MeshRegressor(MeshLatentDenoiser):
    """Reads an image's conditions as the mesh latent denoiser does, and answers with one latent: no noise, no time.

    It has no joint input either: joint samples are what the cascade has and it has not.
    """

    def __init__(self, config: MeshLatentDenoiserConfig):
        super().__init__(config)
        width, latent = config.hidden_size, config.latent_tokens * config.latent_channels
        del self.direct
        first = nn.Linear(self._points_size + 1 + self._image_size + 1, width)
        last = nn.Linear(width, latent)
        with torch.no_grad():  # as the denoiser begins
            first.weight[:, -self._image_size - 1 :] = 0
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        blocks = (_PlainBlock(width) for _ in range(config.num_blocks))
        self.trunk = nn.Sequential(first, *blocks, nn.LayerNorm(width), last)

    def forward(self, image: ImageConditions, image_mask: torch.Tensor | None = None) -> torch.Tensor:
        """The answer: (B, T, C) normalised latents; `image` and `image_mask` as for the denoiser."""
        known = self.read_image(image, image_mask, next(self.parameters()).dtype)
        return self.trunk(torch.cat(known, dim=-1)).view(-1, self.config.latent_tokens, self.config.latent_channels)


@torch.no_grad()
def sample_variant(model, space, scheduler, noise, joints, conditions: ImageConditions, num_steps: int):
    """`sample_meshes`, whatever the variant of stage 2.

    Args:
        model: a `MeshLatentDenoiser` or a `MeshRegressor`; of the latter there is one answer.
        space: the `MeshAutoencoder` or `VertexSpace` that it works in.
        scheduler: its scheduler.
        noise: (B, N, T, C) standard normal.
        joints: (B, N, 21, 3) m hypotheses of stage 1, or None.
        conditions: the image's conditions, B rows.
        num_steps: denoising steps.

    Returns:
        Vertices (B, N, V, 3) m, wrist-relative, and joints (B, N, 21, 3) m, where the networks are; N is 1 for a
        regressor.
    """
    if not isinstance(model, MeshRegressor):
        return sample_meshes(model, space, scheduler, noise, joints, conditions, num_steps)
    parameter = next(model.parameters())
    vertices = space.decode(model(to_device(conditions, parameter.device).to(parameter.dtype))).float()
    joints = space.joint_regressor.float() @ vertices
    return (vertices - joints[:, :1])[:, None], (joints - joints[:, :1])[:, None]
