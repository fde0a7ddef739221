"""The live tab: a webcam's frames in, the same frames with the answer out. Nothing of them is written to a disk."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from answering import load_photo
from components import error_table, facts, message
from gradio.data_classes import ImageData
from line import Line
from live import LiveFrame
from photo_layout import SIDE_CHOICES, picture
from PIL import Image
from reading import MOST_LIVE_HYPOTHESES, photo_source, read_live_settings

from hf_handdiff.errors import InputError

AT_ONCE = 2
"""Webcams that are followed at the same time; others wait."""


def live_tab(answer: Callable[..., LiveFrame], line: Line) -> None:
    """Make the tab.

    Args:
        answer: (pixels, tracked, settings) -> `LiveFrame`, as `live.answer_frame` with its pipeline.
        line: where all work of the Space waits its turn.
    """
    tracked = gr.State(None, time_to_live=600)
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            camera = gr.Image(
                label="Webcam",
                type="filepath",
                sources=["webcam"],
                streaming=True,
                height=330,
                webcam_options=gr.WebcamOptions(mirror=True),
                elem_id="camera",
            )
            side = gr.Radio(SIDE_CHOICES, value="detect", label="Which hand")
            hypotheses = gr.Slider(1, MOST_LIVE_HYPOTHESES, 4, step=1, label="Hypotheses")
            note = gr.HTML(
                message("Start the camera and hold one hand into the picture.", "hint"),
                padding=False,
                elem_id="live-note",
            )
        with gr.Column(scale=6, min_width=300):
            with gr.Row():
                answered = picture("Answer", "live-answer")
                spread = picture("Hypotheses", "live-spread")
            told = gr.HTML(padding=False, elem_id="live-facts")
            errors = gr.HTML(padding=False, elem_id="live-errors")

    async def step(frame, known, chosen_side, count):
        if frame is None:
            return [None] + [gr.skip()] * 5
        try:
            return await line.run(follow, answer, frame, known, chosen_side, count)
        except InputError as error:
            return [None] + [gr.skip()] * 4 + [message(str(error), "warning")]

    camera.stream(
        step,
        [camera, tracked, side, hypotheses],
        [tracked, answered, spread, told, errors, note],
        stream_every=0.2,
        time_limit=120,
        concurrency_limit=AT_ONCE,
        show_progress="hidden",
        api_visibility="private",
        preprocess=False,  # gradio would decode a frame of any size
        postprocess=False,  # and write each picture into a file
    )
    side.input(lambda: None, None, tracked, api_visibility="private", show_progress="hidden")


def follow(answer: Callable[..., LiveFrame], frame: Any, known, side: Any, hypotheses: Any) -> list:
    """One frame: what the tab shows of it.

    Args:
        answer: as `live_tab` takes it.
        frame: what gradio hands on for an image, not decoded.
        known: where the hand was in the frame before, or None.
        side, hypotheses: as the visitor chose them.

    Raises:
        InputError: the frame is no image or too large, a setting cannot be used, or no hand is in the frame.
    """
    started = time.perf_counter()
    settings = read_live_settings(side, hypotheses)
    live = answer(load_photo(photo_source(frame)).pixels, known, settings)
    seconds = time.perf_counter() - started
    return [
        live.tracked,
        _inline(live.answer_picture),
        _inline(live.spread_picture),
        facts(live.answer, seconds),
        error_table(live.answer),
        "",
    ]


def _inline(image: Image.Image) -> dict[str, Any]:
    """A picture as gradio's message holds one that has no file."""
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=85)
    address = "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
    return ImageData(url=address, orig_name="frame.jpg", mime_type="image/jpeg").model_dump()
