"""The three pipelines: photo in, a distribution of hands out. They load on first use: diffusers takes seconds."""

from importlib import import_module

_HOMES = {
    "CascadedHandPipeline": "cascaded",
    "JointDiffusionPipeline": "joint_diffusion",
    "MeshLDMPipeline": "mesh_ldm",
    "HandPipelineOutput": "outputs",
    "HandImageProcessor": "image_processor",
}

__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
