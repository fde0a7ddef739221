"""Eight threads call one pipeline at once; counts the answers that are not those of the same calls one by one.

python scripts/check_concurrent_calls.py --threads 8 --calls 50
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "pipelines"))
from concurrent_calls import answers_at_once, differences_mm, various_calls  # noqa: E402


def main() -> int:
    """Compare, print, and return 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--calls", type=int, default=50, help="of each thread (default: %(default)s)")
    parser.add_argument("--image", default=str(ROOT / "examples" / "hand_1.jpg"), help="a photo of a hand")
    arguments = parser.parse_args()
    pipeline = CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT)
    pipeline.set_progress_bar_config(disable=True)
    photo = np.asarray(Image.open(arguments.image, formats=["JPEG", "PNG"]).convert("RGB"))
    calls = various_calls(arguments.threads * arguments.calls, photo.shape[1::-1], detect=True)
    alone = [call.run(pipeline, photo) for call in calls]
    began = time.perf_counter()
    at_once = answers_at_once(pipeline, photo, calls, arguments.threads)
    seconds = time.perf_counter() - began
    different = [value for value in differences_mm(alone, at_once) if value > 0]
    print(
        f"{len(calls)} calls by {arguments.threads} threads in {seconds:.0f} s: {len(different)} differ from the same"
    )
    print(f"the same calls one by one, by up to {max(different, default=0.0):.3g} mm")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
