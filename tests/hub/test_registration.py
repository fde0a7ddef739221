"""Our entries in private tables of diffusers: each does something, and its test fails once it is no longer needed."""

import subprocess
import sys

import pytest

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.hub import registration

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(hub, checkpoint, home):
    """What plain diffusers makes of our repository, by which hooks there are."""
    pushed = hub.handdiff(home, "push", checkpoint, "ann/hooked")
    assert pushed.returncode == 0, pushed.stderr
    return hub.client("hooks_client.py", home)


def test_plain_diffusers_loads_from_the_hub(loaded):
    """Also where hf_handdiff was imported before diffusers: that takes the hook on the import."""
    assert loaded["with all hooks"] == "CascadedHandPipeline"


def test_loading_from_the_hub_still_needs_the_library_in_the_table(loaded):
    """If it fails, `LOADABLE_CLASSES` need not be touched for loading any more."""
    assert "hf_handdiff.py as defined in `model_index.json` does not exist" in loaded["without the library"]


def test_loading_still_needs_the_classes_in_the_table(loaded):
    """If it fails, `ALL_IMPORTABLE_CLASSES` need not be touched any more."""
    assert "does not seem to have any of the loading methods" in loaded["without the classes"]


def test_saving_still_needs_the_library_in_the_table(tiny_pipeline, monkeypatch):
    """If it fails, an index names our classes by the package alone without `LOADABLE_CLASSES`."""
    from diffusers.pipelines import pipeline_loading_utils

    monkeypatch.delitem(pipeline_loading_utils.LOADABLE_CLASSES, "hf_handdiff")
    named = CascadedHandPipeline(**tiny_pipeline.components).config["joint_denoiser"]
    assert tuple(named) == ("hf_handdiff.models.joint_denoiser", "JointDenoiser")


def test_the_tables_are_diffusers_own_until_it_is_asked_for():
    """If `import hf_handdiff` loads diffusers anyway, the hook on its import is not needed."""
    code = f"import hf_handdiff, sys; sys.exit({registration.TABLES!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
