"""What others run per image, timed in the same process as ours: a ViT-H/16 backbone, and MediaPipe's hands."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.benchmark_figures import BenchmarkFigures, ReferenceTiming

VIT_H_IMAGE_PX = (256, 192)  # height, width


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, ms, after one call to warm up. The call must end with its result on the CPU."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def measure_vit_h(device: str, repeats: int = 7, **sizes: int) -> ReferenceTiming:
    """One image through a ViT-H/16 at 256 x 192, weights random: the time does not depend on them.

    It is the backbone that HaMeR (Pavlakos et al. 2024) and WiLoR (Potamias et al. 2025) run for each hand,
    before any head of theirs. float32, as our pipeline; 632 M parameters, 2.5 GB, freed afterwards.

    Args:
        device: of the pipeline that it is compared with.
        repeats: after one image to warm up.
        sizes: other values of `ViTConfig`, for tests.

    Returns:
        "ms_per_image", the median, and "million_parameters".
    """
    figures = _time_vit_h(device, repeats, sizes)
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    return figures


def _time_vit_h(device: str, repeats: int, sizes: dict[str, int]) -> ReferenceTiming:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120} | sizes
    config = ViTConfig(image_size=VIT_H_IMAGE_PX, patch_size=16, **sizes)
    # Made without its initialisation, which would draw 632 M normal numbers: longer than the timing takes.
    with torch.device("meta"):
        model = ViTModel(config, add_pooling_layer=False)
    model = model.to_empty(device=device).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.02, 0.02)
    image = torch.rand(1, 3, *VIT_H_IMAGE_PX, device=device)
    with torch.inference_mode():
        milliseconds = median_ms(lambda: model(pixel_values=image).last_hidden_state.cpu(), repeats)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return {"ms_per_image": milliseconds, "million_parameters": parameters}


def measure_mediapipe(image: np.ndarray, repeats: int = 7) -> ReferenceTiming:
    """One image through MediaPipe's `Hands`, palm detector and landmarks as it ships them, on the CPU.

    It decides about its threads itself, whatever PyTorch was told.

    Args:
        image: (H, W, 3) uint8 RGB. Where MediaPipe finds no hand its landmark network does not run.
        repeats: after one image to warm up.

    Returns:
        "ms_per_image", the median, and "found_hand", bool.

    Raises:
        InputError: MediaPipe is not installed.
    """
    from hf_handdiff.models.mediapipe_hands import INSTALL_MEDIAPIPE

    try:
        from mediapipe.python.solutions.hands import Hands
    except ImportError:
        raise InputError(f"--mediapipe: {INSTALL_MEDIAPIPE}") from None
    with Hands(static_image_mode=True, max_num_hands=1, model_complexity=1) as hands:
        found = hands.process(image).multi_hand_landmarks is not None
        milliseconds = median_ms(lambda: hands.process(image), repeats)
    return {"ms_per_image": milliseconds, "found_hand": found}


def add_reference_timings(figures: BenchmarkFigures, image: np.ndarray, vit_h: bool, mediapipe: bool) -> None:
    """Add "vit_h" and "mediapipe" to the figures of `benchmark.measure_pipeline`, each with our ratio to it.

    "ratio_by_hypotheses" is our time for one image over theirs, by N: below 1 we are faster.
    """
    repeats = figures["repeats"]
    if vit_h:
        figures["vit_h"] = measure_vit_h(figures["device"], repeats)
    if mediapipe:
        figures["mediapipe"] = measure_mediapipe(image, repeats)
    for name in ("vit_h", "mediapipe"):
        if name in figures:
            theirs = figures[name]["ms_per_image"]
            ratios = {count: value / theirs for count, value in figures["ms_per_image"].items()}
            figures[name]["ratio_by_hypotheses"] = ratios
            if figures["encoder_ms"] is not None:
                figures[name]["ratio_of_image_encoder"] = figures["encoder_ms"] / theirs


def reference_rows(figures: BenchmarkFigures) -> list[list[str]]:
    """Rows of the benchmark's table: what the others take, and our time over theirs."""
    rows = []
    if "vit_h" in figures:
        reference = figures["vit_h"]
        name = f"ViT-H/16 backbone at 256x192, random weights ({reference['million_parameters']:.0f} M)"
        rows += _rows_of_reference(name, "the ViT-H/16", reference)
    if "mediapipe" in figures:
        found = "" if figures["mediapipe"]["found_hand"] else ", no hand found: its landmark network did not run"
        rows += _rows_of_reference(f"MediaPipe hands (CPU{found})", "MediaPipe", figures["mediapipe"])
    return rows


def _rows_of_reference(title: str, name: str, reference: ReferenceTiming) -> list[list[str]]:
    rows = [[title, f"{reference['ms_per_image']:.1f} ms"]]
    for count, ratio in reference["ratio_by_hypotheses"].items():
        rows.append([f"ours with N = {count} takes", f"{ratio:.2f} times {name}"])
    if "ratio_of_image_encoder" in reference:
        rows.append(["our image encoder alone takes", f"{reference['ratio_of_image_encoder']:.2f} times {name}"])
    return rows
