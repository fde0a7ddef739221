"""The folder of the Space can be pushed as it is: header, requirements, sizes."""

from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import SpaceCardData
from packaging.requirements import Requirement
from packaging.version import Version

import hf_handdiff

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "space"


@pytest.fixture(scope="module")
def header():
    return SpaceCard.load(SPACE / "README.md").data


def test_the_header_is_one_of_a_space(header):
    assert isinstance(header, SpaceCardData)
    assert header.sdk == "gradio" and (SPACE / header.app_file).is_file() and header.license == "apache-2.0"
    assert len(header.short_description) <= 60


def test_the_pins_agree(header):
    """Gradio in the header, in the package's extra; the package's version in the requirements."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    extra = next(line for line in lines if line.startswith("space = "))
    gradio = Requirement(extra.split('"')[1])
    assert gradio.name == "gradio" and gradio.specifier.contains(Version(header.sdk_version))
    package = Requirement((SPACE / "requirements.txt").read_text().strip())
    assert package.name == "hf_handdiff" and package.specifier.contains(Version(hf_handdiff.__version__))


def test_no_file_is_large():
    """The Hub wants larger files in LFS."""
    files = [path for path in SPACE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len([path for path in files if path.suffix == ".jpg"]) >= 4
    assert max(path.stat().st_size for path in files) < 1e6
