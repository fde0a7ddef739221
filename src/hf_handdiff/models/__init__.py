"""The networks, one PreTrainedModel a file; importing them lets AutoConfig and AutoModel load them."""

from transformers import AutoConfig, AutoModel

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

for _config, _model in (
    (HandDetectorConfig, HandDetector),
    (HandImageEncoderConfig, HandImageEncoder),
    (JointDenoiserConfig, JointDenoiser),
    (MeshAutoencoderConfig, MeshAutoencoder),
    (MeshLatentDenoiserConfig, MeshLatentDenoiser),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
