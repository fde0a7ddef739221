"""The script that builds the open hand."""

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from hf_handdiff.hand.open_hand import load_open_hand_arrays

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_decimation_keeps_what_it_must(scripts_on_path):
    from quadric_decimation import boundary_vertices, decimate

    side = 13
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) / side
    points = np.c_[grid, 0.1 * np.sin(5 * grid[:, 0])]
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + side], 1),
            np.stack([corner + 1, corner + side + 1, corner + side], 1),
        ]
    )
    keep = [20, 84]
    small = decimate([points], faces, faces, 80, 30, keep)
    assert len(small.vertices) == 80 and set(keep) <= set(small.vertices.tolist())
    assert set(np.unique(small.faces)) == set(small.vertices.tolist())
    assert len(boundary_vertices(small.faces)) == 30
    assert np.array_equal(small.faces, small.texture_faces)


@pytest.mark.skipif("HANDDIFF_SLOW_TESTS" not in os.environ, reason="takes a minute; set HANDDIFF_SLOW_TESTS")
def test_build_gives_the_committed_hand(tmp_path, monkeypatch, scripts_on_path):
    pytest.importorskip("anny")
    monkeypatch.setattr(sys, "argv", ["build_open_hand.py", "--out", str(tmp_path)])
    runpy.run_path(str(SCRIPTS / "build_open_hand.py"), run_name="__main__")
    for resolution, name in (("standard", "open_hand.npz"), ("full", "open_hand_full.npz")):
        with np.load(tmp_path / name) as built:
            committed = load_open_hand_arrays(resolution)
            assert set(built.files) == set(committed)
            for key in built.files:
                assert np.allclose(built[key], committed[key], atol=1e-5), key
