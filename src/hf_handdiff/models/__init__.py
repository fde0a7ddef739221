"""The networks, one PreTrainedModel a file; importing them lets AutoConfig and AutoModel load them."""

from transformers import CONFIG_MAPPING, AutoConfig, AutoModel

from hf_handdiff.models.hand_detector import HandDetector, HandDetectorConfig, HandDetectorOutput
from hf_handdiff.models.image_encoder import HandImageEncoder, HandImageEncoderOutput
from hf_handdiff.models.image_encoder_config import HandImageEncoderConfig
from hf_handdiff.models.joint_denoiser import JointDenoiser, JointDenoiserConfig
from hf_handdiff.models.mesh_autoencoder import MeshAutoencoder, MeshAutoencoderConfig
from hf_handdiff.models.mesh_latent_denoiser import MeshLatentDenoiser, MeshLatentDenoiserConfig

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
    if _config.former_model_type is not None:  # AutoConfig.register takes no other type than that of the class
        CONFIG_MAPPING.register(_config.former_model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
