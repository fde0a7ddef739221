"""Cards of what is pushed to the Hub."""

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData

_PIPELINE = """---
{metadata}
---

# Hands from one photo

```python
from hf_handdiff import CascadedHandPipeline

pipe = CascadedHandPipeline.from_pretrained("{repo_id}")
```
"""
_TRAINED = """---
{metadata}
---

# {repo_id}

Trained by `train/{script}.py`{base}. `training_config.yaml` holds its flags, `results.json` its figures.
"""


def pipeline_card(checkpoint_folder: Path, results: dict | None, *, repo_id: str | None = None) -> ModelCard:
    """The card of a pipeline's checkpoint."""
    return ModelCard(_PIPELINE.format(metadata=_metadata().to_yaml(), repo_id=repo_id or "owner/name"))


def training_card(script: str, config: dict, results: dict, repo_id: str, base: str | None = None) -> ModelCard:
    """The card of a network that a training script made."""
    metadata = _metadata(base_model=base).to_yaml()
    start = f", starting from {base}" if base else ""
    return ModelCard(_TRAINED.format(metadata=metadata, repo_id=repo_id, script=script, base=start))


def _metadata(**more) -> ModelCardData:
    return ModelCardData(library_name="diffusers", license="apache-2.0", tags=["hand-pose-estimation"], **more)
