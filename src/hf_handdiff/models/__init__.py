"""The networks, one PreTrainedModel a file."""

from .hand_detector import HandDetector, HandDetectorConfig, HandDetectorOutput
from .image_encoder import HandImageEncoder, HandImageEncoderConfig, HandImageEncoderOutput
from .joint_denoiser import JointDenoiser, JointDenoiserConfig
from .mesh_autoencoder import MeshAutoencoder, MeshAutoencoderConfig
from .mesh_latent_denoiser import MeshLatentDenoiser, MeshLatentDenoiserConfig

__all__ = [
    "HandDetector",
    "HandDetectorConfig",
    "HandDetectorOutput",
    "HandImageEncoder",
    "HandImageEncoderConfig",
    "HandImageEncoderOutput",
    "JointDenoiser",
    "JointDenoiserConfig",
    "MeshAutoencoder",
    "MeshAutoencoderConfig",
    "MeshLatentDenoiser",
    "MeshLatentDenoiserConfig",
]
