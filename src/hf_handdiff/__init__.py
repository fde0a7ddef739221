"""From one photo of a hand to a distribution of 3D hand meshes, coarse to fine.

    import hf_handdiff
    pipe = hf_handdiff.CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT)
    out = pipe("photo.jpg", num_hypotheses=20)

Heavy modules load on first use, so that `import hf_handdiff` and `handdiff --help` are quick.
"""

from importlib import import_module
from pathlib import Path

from hf_handdiff.hub.registration import register_when_imported

__version__ = "0.1.0"

DEFAULT_CHECKPOINT = str(Path(__file__).parent / "checkpoints" / "base")
"""Folder of the weights that come with the package; every pipeline loads from it, without a network."""

_LAZY = {
    "CascadedHandPipeline": "pipelines",
    "JointDiffusionPipeline": "pipelines",
    "MeshLDMPipeline": "pipelines",
    "HandPipelineOutput": "pipelines",
    "HandImageProcessor": "pipelines",
    "HandDetector": "models",
    "HandDetectorConfig": "models",
    "HandImageEncoder": "models",
    "HandImageEncoderConfig": "models",
    "JointDenoiser": "models",
    "JointDenoiserConfig": "models",
    "MeshAutoencoder": "models",
    "MeshAutoencoderConfig": "models",
    "MeshLatentDenoiser": "models",
    "MeshLatentDenoiserConfig": "models",
    "HandLayer": "hand",
    "HandTracker": "video.following",
}

__all__ = ["DEFAULT_CHECKPOINT", "__version__", *_LAZY]


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


register_when_imported()
