"""What diffusers runs for `custom_pipeline`: the class itself lives in the package."""

from hf_handdiff import CascadedHandPipeline  # noqa: F401
