"""Rate and latency of `handdiff stream`: a program sends JPEGs at a camera's rate, another reads the lines.

python scripts/benchmark_stream.py --seconds 20 --num-hypotheses 8

One hand, 640 x 480 px, moves round the picture. All of it counts: decoding, following, the detector's looks, the lines.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

PHOTO = Path(__file__).resolve().parents[1] / "examples" / "hand_1.jpg"
WIDTH, HEIGHT, FRAMES = 640, 480, 90


def main() -> None:
    """Measure and print a line of a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second that are sent (default: 30)")
    parser.add_argument("--num-hypotheses", type=int, default=8)
    arguments, more = parser.parse_known_args()  # the rest goes to the command, such as --smooth
    command = [sys.executable, "-m", "hf_handdiff", "stream", "-", "--num-hypotheses", str(arguments.num_hypotheses)]
    with subprocess.Popen([*command, *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        threading.Thread(target=_send, args=(process.stdin, arguments.seconds, arguments.rate), daemon=True).start()
        lines = [(time.perf_counter(), json.loads(line)) for line in process.stdout]
    lines = lines[5:]  # the first wait for the start of the command
    latencies = [line["latency_s"] for _, line in lines]
    seconds = lines[-1][0] - lines[0][0]
    found = sum(len(line["hands"]) == 1 for _, line in lines)
    print(
        f"{(len(lines) - 1) / seconds:.1f} frames/s; latency {1000 * statistics.median(latencies):.0f} ms (median), "
        f"{1000 * float(np.percentile(latencies, 95)):.0f} ms (95 %); {len(lines)} lines in {seconds:.0f} s, "
        f"{lines[-1][1]['frame'] - lines[0][1]['frame'] + 1 - len(lines)} frames dropped; the hand in {found} of them; "
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {platform.machine()}"
    )


def moving_hand(count: int = FRAMES) -> list[bytes]:
    """JPEGs of a hand that moves in a circle and turns a little."""
    photo, frames = Image.open(PHOTO), []
    fill = tuple(int(value) for value in np.asarray(photo)[0, 0])
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        frame = Image.new("RGB", (WIDTH, HEIGHT), fill)
        turned = photo.rotate(10 * np.sin(angle), resample=Image.Resampling.BILINEAR, fillcolor=fill)
        frame.paste(turned, (int(210 + 120 * np.cos(angle)), int(130 + 90 * np.sin(angle))))
        file = io.BytesIO()
        frame.save(file, "JPEG", quality=90)
        frames.append(file.getvalue())
    return frames


def _send(pipe, seconds: float, rate: float) -> None:
    """Write frames at their times; the pipe takes none until the command is ready, which does not count."""
    frames = moving_hand()
    for _ in range(3):
        pipe.write(b"".join(frames[:5]))
        pipe.flush()
    start = time.perf_counter()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        pipe.write(frames[number % len(frames)])
        pipe.flush()
    pipe.close()


if __name__ == "__main__":
    main()
