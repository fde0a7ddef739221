"""`handdiff benchmark`: its arguments, and what it measures. Heavy modules load when it runs, not for its help."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hf_handdiff.cli.arguments import whole_number, whole_numbers
from hf_handdiff.cli.pipeline_arguments import add_pipeline_arguments, checkpoint_digest, pipeline_options

_MOST_LOOKS = 3  # of the image encoder, whatever the number of hypotheses: where it doubts, again, and the mirror image


def add_benchmark_parser(subparsers) -> None:
    """Add `benchmark` to the subparsers of `handdiff`; sets `run`, arguments -> exit status."""
    parser = subparsers.add_parser(
        "benchmark",
        help="time and memory of a checkpoint",
        description="Measure the time for one image by the number of hypotheses, the cost of one more, the "
        "image encoder's share and how often it runs, the time from a fresh start to the first answer, and "
        "memory.",
    )
    parser.add_argument(
        "--image",
        metavar="PATH",
        help="a photo (default: noise, of which the encoder is in doubt and looks again, which takes longer)",
    )
    parser.add_argument(
        "--num-hypotheses",
        type=whole_numbers(1),
        default=[1, 5, 20, 50],
        metavar="N,N,...",
        help="(default: 1,5,20,50)",
    )
    parser.add_argument("--repeats", type=whole_number(1), default=7, metavar="R", help="(default: 7)")
    parser.add_argument(
        "--vit-h",
        action="store_true",
        help="also time a ViT-H/16 with random weights, the backbone of HaMeR and WiLoR (needs 2.5 GB of memory)",
    )
    parser.add_argument("--mediapipe", action="store_true", help="also time MediaPipe (needs the extra [mediapipe])")
    parser.add_argument(
        "--onnx",
        metavar="DIR",
        help="also time each network in onnxruntime, on the CPU; DIR is what handdiff export wrote of this checkpoint "
        "(needs the extra [onnx])",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    add_pipeline_arguments(parser)
    parser.set_defaults(run=run_benchmark)


def run_benchmark(arguments: argparse.Namespace) -> int:
    """`handdiff benchmark`: returns the exit status, 1 if the image encoder ran more than three times an image."""
    import numpy as np

    from hf_handdiff import DEFAULT_CHECKPOINT
    from hf_handdiff.cli.loading import load_pipeline
    from hf_handdiff.evaluation import benchmark
    from hf_handdiff.evaluation.onnx_timing import measure_onnx
    from hf_handdiff.evaluation.reference_timings import add_reference_timings
    from hf_handdiff.files import make_writable_folder, replace_file
    from hf_handdiff.images import load_image

    if arguments.json is not None:
        make_writable_folder(Path(arguments.json).parent, "--json")
    checkpoint = arguments.checkpoint or DEFAULT_CHECKPOINT
    if arguments.image is None:
        image = np.random.default_rng(0).integers(0, 256, size=(224, 224, 3), dtype=np.uint8)
    else:
        image = load_image(arguments.image, "--image")
    pipeline = load_pipeline(checkpoint, arguments.device, arguments.hand_model)
    figures = benchmark.measure_pipeline(
        pipeline, image, arguments.num_hypotheses, arguments.repeats, **pipeline_options(arguments)
    )
    add_reference_timings(figures, image, arguments.vit_h, arguments.mediapipe)
    figures["checkpoint"] = checkpoint_digest(checkpoint)
    if arguments.onnx is not None:
        figures["onnx"] = measure_onnx(pipeline, arguments.onnx, figures["checkpoint"], arguments.repeats)
    figures["fresh_process"] = benchmark.measure_fresh_process(checkpoint, figures["device"], image)
    print(benchmark.render_benchmark(figures))
    if arguments.json is not None:
        with replace_file(arguments.json) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures["encoder_calls_per_image"] <= _MOST_LOOKS else 1
