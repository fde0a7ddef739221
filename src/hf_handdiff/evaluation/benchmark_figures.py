"""What `handdiff benchmark --json` writes: the schema of the figures of a benchmark."""

from __future__ import annotations

from typing import TypedDict


class FreshProcess(TypedDict):
    """From the start of a new Python process to its first answer with 20 hypotheses.

    Keys:
        total_s: with the interpreter's own start.
        load_s: imports and weights.
        first_answer_s: one image.
        peak_memory_mib: of the main memory.
    """

    total_s: float
    load_s: float
    first_answer_s: float
    peak_memory_mib: float


class ReferenceTiming(TypedDict, total=False):
    """Another network on one image, and our time over its time: below 1 we are faster.

    Keys:
        ms_per_image: the median.
        million_parameters: of a network of known size.
        found_hand: of MediaPipe; where it finds none its landmark network does not run.
        ratio_by_hypotheses: ours for one image, by the number of hypotheses.
        ratio_of_image_encoder: our image encoder alone.
    """

    ms_per_image: float
    million_parameters: float
    found_hand: bool
    ratio_by_hypotheses: dict[str, float]
    ratio_of_image_encoder: float


class OnnxTiming(TypedDict):
    """One call of a network.

    Keys:
        rows: hands in the call.
        torch_ms, onnxruntime_ms: medians.
        ratio: PyTorch's time over onnxruntime's, the median over the turns; above 1 onnxruntime is faster.
    """

    rows: int
    torch_ms: float
    onnxruntime_ms: float
    ratio: float


class _PipelineFigures(TypedDict):
    ms_per_image: dict[str, float]
    fastest_ms_per_image: dict[str, float]
    fixed_ms: float
    ms_per_extra_hypothesis: float | None
    encoder_ms: float | None
    encoder_calls_per_image: int
    repeats: int
    threads: int
    device: str
    load_average: float | None
    cores: int | None
    machine: str


class BenchmarkFigures(_PipelineFigures, total=False):
    """All figures; those of the pipeline are always there.

    Keys:
        ms_per_image, fastest_ms_per_image: of one image, by the number of hypotheses.
        fixed_ms, ms_per_extra_hypothesis: the line through the former; no slope where there is one number only.
        encoder_ms: of the image encoder, within that.
        encoder_calls_per_image: the most in any call.
        repeats: that the medians are of.
        threads, device, cores, machine: where it ran.
        load_average: processes that wanted a core in the last minute; above the number of cores, times are too long;
            None where the system does not tell.
        checkpoint: name and digest of the weights.
    """

    checkpoint: str
    fresh_process: FreshProcess
    vit_h: ReferenceTiming
    mediapipe: ReferenceTiming
    onnx: dict[str, OnnxTiming]
