"""Makes diffusers' loader know this package's models.

Without it `model_index.json` would record the full path of our modules: loading from a folder would work, loading
from the Hub would not, and moving a class would break old checkpoints. With it the entry reads
`["hf_handdiff", "JointDenoiser"]`. The table is private to diffusers, hence the pin on its minor version.
"""

from diffusers.pipelines import pipeline_loading_utils

MODEL_CLASSES = ("HandDetector", "HandImageEncoder", "JointDenoiser", "MeshAutoencoder", "MeshLatentDenoiser")


def register() -> None:
    """Enter the models as classes of the library `hf_handdiff`; may be called again."""
    entries = {name: ["save_pretrained", "from_pretrained"] for name in MODEL_CLASSES}
    pipeline_loading_utils.LOADABLE_CLASSES["hf_handdiff"] = entries
    pipeline_loading_utils.ALL_IMPORTABLE_CLASSES.update(entries)
