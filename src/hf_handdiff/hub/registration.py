"""Makes diffusers' loader know this package's models and its image processor.

Without it `model_index.json` would record the full path of our modules: loading from a folder would work, loading
from the Hub would not, and moving a class would break old checkpoints. With it the entry reads
`["hf_handdiff", "JointDenoiser"]`. The table is private to diffusers, hence the pin on its minor version.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder

COMPONENT_CLASSES = (
    "HandDetector",
    "HandImageEncoder",
    "HandImageProcessor",
    "JointDenoiser",
    "MeshAutoencoder",
    "MeshLatentDenoiser",
)
_TABLE = "diffusers.pipelines.pipeline_loading_utils"


def register() -> None:
    """Enter the components as classes of the library `hf_handdiff`; may be called again."""
    from diffusers.pipelines import pipeline_loading_utils

    entries = {name: ["save_pretrained", "from_pretrained"] for name in COMPONENT_CLASSES}
    pipeline_loading_utils.LOADABLE_CLASSES["hf_handdiff"] = entries
    pipeline_loading_utils.ALL_IMPORTABLE_CLASSES.update(entries)


def register_when_imported() -> None:
    """Register as soon as diffusers' loader is imported, or now if it is; diffusers itself is not imported for it.

    `DiffusionPipeline.from_pretrained` reads the table before it runs a repository's `pipeline.py`.
    """
    if _TABLE in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _AfterImport(_TABLE, register))


class _AfterImport(MetaPathFinder):
    """Calls `then` once, right after the module `name` was executed."""

    def __init__(self, name: str, then: Callable[[], None]):
        self.name, self.then = name, then

    def find_spec(self, fullname, path=None, target=None):
        """Leave finding to the others, and let the loader that they name call `then`."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        execute = spec.loader.exec_module

        def execute_and_call(module):
            execute(module)
            self.then()

        spec.loader.exec_module = execute_and_call
        return spec
