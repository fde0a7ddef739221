"""Makes diffusers' loader know this package's components: entries in two private tables, hence the pin on its version.

With them `model_index.json` names a model `["hf_handdiff", "JointDenoiser"]`, wherever its module lies.
`tests/hub/test_registration.py` fails for each hook that a later diffusers does not need.
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
TABLES = "diffusers.pipelines.pipeline_loading_utils"


def register() -> None:
    """Enter the components into both tables of diffusers; may be called again.

    `LOADABLE_CLASSES`: the libraries that components may come from. Of another one the index records the whole path of
    the module, so that moving a class would break old checkpoints, and loading from the Hub is refused.
    `ALL_IMPORTABLE_CLASSES`: how a class is loaded. It is a copy that diffusers makes when it is imported.
    """
    from diffusers.pipelines import pipeline_loading_utils

    entries = {name: ["save_pretrained", "from_pretrained"] for name in COMPONENT_CLASSES}
    pipeline_loading_utils.LOADABLE_CLASSES["hf_handdiff"] = entries
    pipeline_loading_utils.ALL_IMPORTABLE_CLASSES.update(entries)


def register_when_imported() -> None:
    """Register as soon as diffusers' loader is imported, or now if it is.

    `import hf_handdiff` does not import diffusers, which takes seconds; and `DiffusionPipeline.from_pretrained` reads
    the tables before it runs a repository's `pipeline.py`, so that that file comes too late.
    """
    if TABLES in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _AfterImport(TABLES, register))


class _AfterImport(MetaPathFinder):
    """Calls `then` once, right after the module `name` was executed; Python has no other hook for that."""

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
