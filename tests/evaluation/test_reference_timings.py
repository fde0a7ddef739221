"""The networks that the benchmark compares us with: small ones here, for the real sizes are slow to run."""

import importlib.util
import json

import numpy as np
import pytest

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation import reference_timings as references
from hf_handdiff.evaluation.reference_timings import (
    add_reference_timings,
    measure_mediapipe,
    measure_vit_h,
    reference_rows,
)

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def our_figures():
    return {"ms_per_image": {"1": 10.0, "20": 30.0}, "encoder_ms": 5.0, "repeats": 1, "device": "cpu"}


def test_a_vit_is_timed():
    figures = measure_vit_h("cpu", repeats=1, **SMALL)
    assert figures["ms_per_image"] > 0
    patches = 16 * 12  # of 16 px in 256 x 192
    assert figures["million_parameters"] * 1e6 > (patches + 1) * 32 + 3 * 16 * 16 * 32


def test_vit_h_has_its_published_size():
    import torch
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=references.VIT_H_IMAGE_PX,
        patch_size=16,
        hidden_size=1280,
        num_hidden_layers=32,
        num_attention_heads=16,
        intermediate_size=5120,
    )
    with torch.device("meta"):
        model = ViTModel(config, add_pooling_layer=False)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(631, abs=2)


def test_ratios_are_ours_over_theirs(monkeypatch):
    monkeypatch.setattr(references, "measure_vit_h", lambda *_: {"ms_per_image": 100.0, "million_parameters": 632.0})
    monkeypatch.setattr(references, "measure_mediapipe", lambda *_: {"ms_per_image": 20.0, "found_hand": False})
    figures = our_figures()
    add_reference_timings(figures, np.zeros((8, 8, 3), np.uint8), vit_h=True, mediapipe=True)
    assert figures["vit_h"]["ratio_by_hypotheses"] == {"1": 0.1, "20": 0.3}
    assert figures["mediapipe"]["ratio_by_hypotheses"] == {"1": 0.5, "20": 1.5}
    assert figures["vit_h"]["ratio_of_image_encoder"] == 0.05
    text = "\n".join(" ".join(row) for row in reference_rows(figures))
    assert "0.30 times the ViT-H/16" in text and "1.50 times MediaPipe" in text and "no hand found" in text
    json.dumps(figures)
    untouched = our_figures()
    add_reference_timings(untouched, np.zeros((8, 8, 3), np.uint8), vit_h=False, mediapipe=False)
    assert untouched == our_figures() and reference_rows(untouched) == []


def test_mediapipe_is_timed_or_asked_for():
    image = np.zeros((64, 64, 3), np.uint8)
    if importlib.util.find_spec("mediapipe") is None:
        with pytest.raises(InputError, match=r"--mediapipe: .*hf_handdiff\[mediapipe\]"):
            measure_mediapipe(image)
    else:
        figures = measure_mediapipe(image, repeats=1)
        assert figures["ms_per_image"] > 0 and figures["found_hand"] is False
