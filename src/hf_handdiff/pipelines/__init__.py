"""The three pipelines: photo in, a distribution of hands out."""

from .cascaded import CascadedHandPipeline
from .joint_diffusion import JointDiffusionPipeline
from .mesh_ldm import MeshLDMPipeline
from .outputs import HandPipelineOutput

__all__ = ["CascadedHandPipeline", "HandPipelineOutput", "JointDiffusionPipeline", "MeshLDMPipeline"]
