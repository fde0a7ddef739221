"""Loads the repository ann/hooked with plain diffusers: as it is, and without each of our entries in diffusers' tables.

python hooks_client.py
"""

import json

import hf_handdiff  # isort: skip  # before diffusers: the entries are made when its loader is imported

from answers import report
from diffusers import DiffusionPipeline
from diffusers.pipelines import pipeline_loading_utils as tables


def load() -> str:
    """What comes of loading: the class, or the error."""
    try:
        loaded = DiffusionPipeline.from_pretrained("ann/hooked", custom_pipeline="ann/hooked", trust_remote_code=True)
    except Exception as error:
        return report(error)["text"]
    return type(loaded).__name__


found = {"with all hooks": load()}
entries = tables.LOADABLE_CLASSES.pop("hf_handdiff")
found["without the library"] = load()
tables.LOADABLE_CLASSES["hf_handdiff"] = entries
for name in entries:
    del tables.ALL_IMPORTABLE_CLASSES[name]
found["without the classes"] = load()
print(json.dumps({**found, "version": hf_handdiff.__version__}))
