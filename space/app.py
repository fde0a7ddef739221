"""The Space: the page of `hf_handdiff`. Run it with `python app.py`; what it does lies in the modules beside it.

Environment: HANDDIFF_CHECKPOINT, a folder or a Hub repository; without it, the weights of the package. GRADIO_TEMP_DIR:
where the folder of visitors' files is made.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from device import on_gpu  # first: on ZeroGPU `spaces` must be there before torch

# isort: split
import signal
import sys
from pathlib import Path

import gradio as gr
from endpoint import endpoint
from guarded import GuardedBlocks
from line import AT_ONCE, MOST_WAITING, Line
from live import answer_frame
from live_tab import live_tab
from photo_tab import photo_tab
from reading import LARGEST_UPLOAD_MB
from session import SessionSteps
from style import CSS, THEME
from visitor_files import VisitorFiles

from hf_handdiff.cli.loading import load_pipeline

SESSIONS_KEPT = 100  # a session keeps its photo, up to 8 MB
MOST_EVENTS = 1000  # gradio's own queue; `line.Line` refuses long before, and says when to come again

HERO = """
<div class="hero"><h1>One photo, many hands</h1>
<p>A photo of a hand leaves its 3D pose open: fingers hide each other and depth is lost. This cascade of two diffusion
models answers with N hands instead of one, and says for every joint how far off it expects to be.</p></div>
"""
HOW_TO_READ = """
### How to read it
- **3D view.** The solid hand is the one answer; the see-through hands are the hypotheses. Its colour is the expected
  error of each place, blue to red. Turn it: most of what a photo cannot tell is depth.
- **Expected error** is calibrated on held-out renders: the root mean square distance between the true joint and that
  of the answer, wrist laid on wrist. The small number is the radius that holds the true joint nine times of ten.
- **Keypoints.** The first of the two stages sees the photo only through 21 points. Move one, or mark it as not seen,
  and see the cascade answer again: hypotheses fan out where points are missing.
- **Files.** GLB opens in any 3D viewer; the JSON file holds joints and vertices in metres (camera axes: x right, y
  down, z away, wrist at 0) and keypoints in pixels of your file.

### What it cannot do
It was trained on renders: on photos it is less sure and less right, most of all where hands hold objects. The size of a
hand cannot be seen in one photo, so millimetres are those of an average hand. It knows nothing of who is in a picture.

Your photo and the files of an answer lie in a folder of this server that only this app can read. They are removed
within an hour of their last use, and all of them when the app is stopped. Frames of the live webcam are not written to
a disk. The examples are renders from the package's own test set, no person was photographed. Code and weights:
Apache-2.0.
"""


def build(pipeline, files: VisitorFiles, line: Line, checkpoint: str = "base") -> gr.Blocks:
    """The page.

    Args:
        pipeline: the cascade, with a hand detector.
        files: where uploads and results lie; gradio has to use its folder too.
        line: where all work of the Space waits its turn.
        checkpoint: what the JSON files call its weights.
    """
    steps = SessionSteps.of_pipeline(pipeline, files, wrap=on_gpu)
    with GuardedBlocks(title="One photo, many hands", analytics_enabled=False) as page:
        gr.HTML(HERO, padding=False)
        with gr.Tabs():
            with gr.Tab("Photo", id="photo"):
                photo_tab(page, steps, line, pipeline.config, checkpoint)
            with gr.Tab("Live webcam", id="live"):
                live_tab(on_gpu(lambda *frame: answer_frame(pipeline, *frame)), line)
            with gr.Tab("How to read it", id="about"):
                gr.Markdown(HOW_TO_READ)
        endpoint(steps, line, pipeline.config, checkpoint)
    return page


def public_name(checkpoint: str | None) -> str:
    """What visitors are told of HANDDIFF_CHECKPOINT: a Hub repository by its name, a folder of this server not."""
    if checkpoint is None:
        return "base"
    return "weights of this server" if Path(checkpoint).expanduser().exists() else checkpoint


def main() -> None:
    """Load the weights and serve the page; when it ends, nothing of its visitors is left."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what follows `finally` is done
    checkpoint = os.environ.get("HANDDIFF_CHECKPOINT")
    pipeline = load_pipeline(checkpoint)
    files, line = VisitorFiles(os.environ.get("GRADIO_TEMP_DIR")), Line()
    os.environ["GRADIO_TEMP_DIR"] = str(files.path)
    page = None
    try:
        page = build(pipeline, files, line, public_name(checkpoint))
        files.keep_present()
        files.start_sweeping()
        page.queue(default_concurrency_limit=None, max_size=MOST_EVENTS)
        page.launch(
            theme=THEME,
            css=CSS,
            max_file_size=f"{LARGEST_UPLOAD_MB}mb",
            max_threads=2
            * (AT_ONCE + MOST_WAITING),  # gradio's limit on events at work: those that wait are among them
            state_session_capacity=SESSIONS_KEPT,
            ssr_mode=False,
            footer_links=["api", "gradio"],
        )
    finally:
        files.clear()  # at once: who stops the Space may not wait for the rest
        if page is not None:
            page.close(verbose=False)
        line.close()
        files.close()


if __name__ == "__main__":
    main()
