"""Print jitter and lag of the hands in the JSON lines that `handdiff predict` wrote for a video.

python scripts/measure_video.py results/clip.jsonl
"""

import argparse

from hf_handdiff.evaluation.motion import measure_json_lines


def main() -> None:
    """Measure the files that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lines", nargs="+", metavar="NAME.jsonl")
    for path in parser.parse_args().lines:
        for hand in measure_json_lines(path):
            lag = "too short to tell" if hand["lag_frames"] is None else f"{hand['lag_frames']:+.2f} frames"
            print(
                f"{path}: hand {hand['id']}, {hand['frames']} frames: "
                f"jitter of joints {hand['jitter_mm_before']:.2f} -> {hand['jitter_mm_after']:.2f} mm, "
                f"of keypoints {hand['jitter_px_before']:.2f} -> {hand['jitter_px_after']:.2f} px, lag {lag}"
            )


if __name__ == "__main__":
    main()
