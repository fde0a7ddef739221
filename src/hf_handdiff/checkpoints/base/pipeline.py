from hf_handdiff import CascadedHandPipeline  # noqa: F401
