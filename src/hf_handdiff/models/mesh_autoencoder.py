"""The learned latent space of hand meshes: vertices -> a few latent tokens -> vertices."""

import re
from contextlib import contextmanager

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from hf_handdiff.devices import to_device
from hf_handdiff.errors import InputError
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mesh_kinds import is_open_topology, topology_digest
from hf_handdiff.models.base import HandModel, HandModelConfig

OPEN, FILE = "open", "file"


@strict
class MeshAutoencoderConfig(HandModelConfig):
    """Configuration of a [`MeshAutoencoder`].

    You will most likely change `latent_tokens` and `latent_channels` (the size of the latent space), and for a
    mesh of another topology `num_vertices`, `num_faces` and the last entry of `ladder`.

    Args:
        num_vertices: vertices of the mesh (778 for the open hand and for MANO).
        num_faces: triangles of the mesh.
        num_joints: joints that `joints_from_vertices` reads off a mesh.
        latent_tokens: tokens of the latent; also the lowest rung of the decoder's ladder.
        latent_channels: channels of each token.
        ladder: tokens of the decoder's rungs, each about twice the last, ending at `num_vertices`.
        ladder_channels: channels on each rung, one more than `ladder` (the latent's rung comes first).
        rung_expansion: width of the MLP of a rung, over the rung's channels.
        encoder_hidden_size: width of the encoder's non-linear branch.
        vertex_scale: metres per unit of the network's input and output.
        latent_mean: `latent_tokens * latent_channels` means of the raw latent over training meshes.
        latent_std: their standard deviations. Diffusion sees (raw - mean) / std; training writes both.
        hand: "open": the triangles are stored; "file": the meshes are those of a hand whose file the user has, such as
            MANO_RIGHT.pkl, and its triangles are not stored.
        topology: of a "file" hand, `hand.mesh_kinds.topology_digest` of its triangles, by which its file is recognised.

    Raises:
        InputError: the ladder does not reach the vertices, or has not one entry less than its channels; `hand` is
            neither of the two, or a "file" hand has no digest.
    """

    model_type = "handdiff_mesh_autoencoder"

    num_vertices: int = 778
    num_faces: int = 1538
    num_joints: int = 21
    latent_tokens: int = 24
    latent_channels: int = 4
    ladder: list[int] | tuple[int, ...] = (48, 97, 194, 389, 778)
    ladder_channels: list[int] | tuple[int, ...] = (64, 64, 48, 32, 16, 8)
    rung_expansion: int = 2
    encoder_hidden_size: int = 384
    vertex_scale: float | int = 0.07
    latent_mean: list[float] | None = None
    latent_std: list[float] | None = None
    hand: str = "open"
    topology: str | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.ladder, self.ladder_channels = list(self.ladder), list(self.ladder_channels)
        if self.latent_mean is None:
            self.latent_mean = [0.0] * (self.latent_tokens * self.latent_channels)
        if self.latent_std is None:
            self.latent_std = [1.0] * (self.latent_tokens * self.latent_channels)
        if self.ladder[-1:] != [self.num_vertices] or len(self.ladder_channels) != len(self.ladder) + 1:
            raise InputError(
                "config: ladder must end at num_vertices and ladder_channels must have one entry more than "
                f"ladder, got ladder={self.ladder}, ladder_channels={self.ladder_channels}"
            )
        if self.hand != OPEN and (self.hand != FILE or not re.fullmatch("[0-9a-f]{64}", self.topology or "")):
            raise InputError(
                f'config: hand must be "{OPEN}", or "{FILE}" with a SHA-256 as topology, got hand={self.hand!r}, '
                f"topology={self.topology!r}"
            )


class LadderRung(nn.Module):
    """Climbs from `tokens_in` to `tokens_out` tokens: a learned mix over tokens, then an MLP over channels."""

    def __init__(self, tokens_in: int, tokens_out: int, channels_in: int, channels_out: int, expansion: int):
        super().__init__()
        self.channels = nn.Linear(channels_in, channels_out)
        self.tokens = nn.Linear(tokens_in, tokens_out)
        self.norm = nn.LayerNorm(channels_out)
        self.mlp = nn.Sequential(
            nn.Linear(channels_out, expansion * channels_out),
            nn.GELU(),
            nn.Linear(expansion * channels_out, channels_out),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, tokens_in, channels_in) -> (B, tokens_out, channels_out)."""
        mixed = self.tokens(self.channels(tokens).transpose(1, 2)).transpose(1, 2)
        return mixed + self.mlp(self.norm(mixed))


class MeshAutoencoder(HandModel):
    """Autoencoder of wrist-relative hand meshes in any rotation.

    Encoder and decoder each have a linear branch, which training starts as the principal components of hand
    meshes (skinned meshes are nearly linear in their joints' rotation matrices), and a branch that learns what
    is not linear: an MLP on the way in, a ladder that doubles the tokens up to the vertices on the way out.

    It also carries what belongs to the mesh's topology: `faces` (F, 3) and `joint_regressor` (21, V), so that a
    checkpoint can be of any hand model.

    What is stored of a hand that may not be passed on, as MANO may not: of its arrays none. `faces` is empty (0, 3) and
    the config has a digest of the triangles, by which the pipelines recognise the file that its user gives them
    (`use_hand`). `joint_regressor` is not the file's regressor of rest joints: it was fitted to posed samples
    (`hand.mesh_joints`), as the weights were. `save_pretrained` writes no triangles but the open hand's, whoever put
    others into `faces`; checkpoints of earlier versions that hold them are read as they are.
    """

    config_class = MeshAutoencoderConfig
    base_model_prefix = "mesh_autoencoder"
    main_input_name = "vertices"

    def __init__(self, config: MeshAutoencoderConfig):
        super().__init__(config)
        coordinates, latent = config.num_vertices * 3, config.latent_tokens * config.latent_channels
        self.encode_linear = nn.Linear(coordinates, latent)
        self.encode_residual = nn.Sequential(
            nn.Linear(coordinates, config.encoder_hidden_size),
            nn.GELU(),
            nn.Linear(config.encoder_hidden_size, latent),
        )
        self.decode_linear = nn.Linear(latent, coordinates)
        tokens, channels = [config.latent_tokens, *config.ladder], config.ladder_channels
        self.lift = nn.Linear(config.latent_channels, channels[0])
        self.rungs = nn.ModuleList(
            LadderRung(tokens[i], tokens[i + 1], channels[i], channels[i + 1], config.rung_expansion)
            for i in range(len(config.ladder))
        )
        self.to_vertices = nn.Linear(channels[-1], 3)
        for branch_end in (self.encode_residual[-1], self.to_vertices):  # both branches begin at zero
            nn.init.zeros_(branch_end.weight)
            nn.init.zeros_(branch_end.bias)
        stored_faces = config.num_faces if config.hand == OPEN else 0
        self.register_buffer("faces", torch.zeros(stored_faces, 3, dtype=torch.int64))
        self.register_buffer("joint_regressor", torch.zeros(config.num_joints, config.num_vertices))
        self.post_init()

    def _init_weights(self, module):
        """Keep PyTorch's own initialisation: the constructor sets what differs."""

    @classmethod
    def of_hand(cls, layer: HandLayer, **config) -> "MeshAutoencoder":
        """A new autoencoder for the meshes of a hand.

        Args:
            layer: the hand; its `mesh_to_joints` is stored: of a user's file it must be a fitted one.
            **config: further fields of [`MeshAutoencoderConfig`].
        """
        is_open = is_open_topology(layer.faces.cpu())
        kind = {"hand": OPEN} if is_open else {"hand": FILE, "topology": topology_digest(layer.faces.cpu())}
        sizes = {"num_vertices": layer.num_vertices, "num_faces": len(layer.faces)}
        model = cls(MeshAutoencoderConfig(**{**sizes, **kind, **config}))
        model.joint_regressor.copy_(layer.mesh_to_joints)
        if is_open:
            model.faces.copy_(layer.faces)
        return model

    @property
    def topology(self) -> str:
        """The digest of the triangles of the meshes, see `hand.mesh_kinds.topology_digest`."""
        return topology_digest(self.faces.cpu()) if self.config.hand == OPEN else self.config.topology

    @contextmanager
    def what_is_saved(self, state_dict):
        """As of [`HandModel`]; triangles that are not the open hand's are left out, see the class."""
        if not self._holds_a_users_triangles():
            yield state_dict
            return
        faces, hand = self.faces, (self.config.hand, self.config.topology)
        try:
            self.config.hand, self.config.topology = FILE, topology_digest(faces.cpu())
            self.faces = faces[:0].clone()
            yield None if state_dict is None else {**state_dict, "faces": self.faces}
        finally:
            self.faces, (self.config.hand, self.config.topology) = faces, hand

    def _holds_a_users_triangles(self) -> bool:
        return len(self.faces) > 0 and bool(self.faces.any()) and not is_open_topology(self.faces.cpu())

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(tokens, channels) of one latent."""
        return self.config.latent_tokens, self.config.latent_channels

    def _latent_statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.tensor([self.config.latent_mean, self.config.latent_std])
        mean, std = to_device(both, like.device).to(like.dtype).view(2, *self.latent_shape)
        return mean, std

    def encode(self, vertices: torch.Tensor) -> torch.Tensor:
        """(B, V, 3) m, wrist-relative -> normalised latents (B, T, C), about zero mean and unit variance."""
        mean, std = self._latent_statistics(vertices)
        return (self._encode_raw(vertices) - mean) / std

    def _encode_raw(self, vertices: torch.Tensor) -> torch.Tensor:
        flat = vertices.flatten(1) / self.config.vertex_scale
        return (self.encode_linear(flat) + self.encode_residual(flat)).view(-1, *self.latent_shape)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Normalised latents (B, T, C) -> vertices (B, V, 3) m, wrist-relative."""
        mean, std = self._latent_statistics(latents)
        return self._decode_raw(latents * std + mean)

    def _decode_raw(self, raw: torch.Tensor) -> torch.Tensor:
        tokens = self.lift(raw)
        for rung in self.rungs:
            tokens = rung(tokens)
        vertices = self.decode_linear(raw.flatten(1)).view(-1, self.config.num_vertices, 3)
        return (vertices + self.to_vertices(tokens)) * self.config.vertex_scale

    def joints_from_vertices(self, vertices: torch.Tensor) -> torch.Tensor:
        """Read the 21 joints off meshes: (..., V, 3) -> (..., 21, 3), same frame and units."""
        return self.joint_regressor.to(vertices.dtype) @ vertices

    def forward(self, vertices: torch.Tensor) -> torch.Tensor:
        """Reconstruct (B, V, 3) m -> (B, V, 3) m."""
        return self.decode(self.encode(vertices))

    @torch.no_grad()
    def start_from_principal_components(self, vertices: torch.Tensor) -> None:
        """Set the linear branches to the principal components of `vertices` (N, V, 3) m, N > latent size."""
        flat = (vertices.flatten(1) / self.config.vertex_scale).double()
        mean = flat.mean(0)
        centred = flat - mean
        _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
        latent = self.encode_linear.out_features
        basis = directions.flip(1)[:, :latent].T.to(self.encode_linear.weight.dtype)  # (latent, 3V)
        self.encode_linear.weight.copy_(basis)
        self.encode_linear.bias.copy_(-basis @ mean.to(basis))
        self.decode_linear.weight.copy_(basis.T)
        self.decode_linear.bias.copy_(mean.to(basis))

    @torch.no_grad()
    def set_latent_statistics(self, vertices: torch.Tensor) -> None:
        """Write mean and standard deviation of the raw latents of `vertices` (N, V, 3) m into the config."""
        raw = self._encode_raw(vertices).flatten(1)
        self.config.latent_mean = raw.mean(0).tolist()
        self.config.latent_std = raw.std(0).clamp_min(1e-6).tolist()
