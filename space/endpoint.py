"""`/predict` for programs: a photo and settings in; GLB, the content of the JSON file, and a picture out."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
from line import Line
from reading import MOST_HYPOTHESES, MOST_SEED, MOST_STEPS, SIDES, photo_source, read_settings
from session import SessionSteps

from hf_handdiff.pipelines.defaults import AGGREGATIONS, DEFAULT_AGGREGATION, NUM_HYPOTHESES


def endpoint(steps: SessionSteps, line: Line, config, checkpoint: str) -> None:
    """Make the endpoint; the arguments are those of `photo_tab.photo_tab`."""

    def answer(photo, *asked):
        shown = steps.begin(photo_source(photo), read_settings(*asked, checkpoint))
        files = shown.session.files
        return files.glb, json.loads(Path(files.json).read_text(encoding="utf-8")), files.pictures["answer"]

    async def predict(photo, side, hypotheses, joint_steps, mesh_steps, seed, aggregation):
        return await line.run(answer, photo, side, hypotheses, joint_steps, mesh_steps, seed, aggregation)

    with gr.Row(visible=False):
        inputs = [
            gr.Image(label="photo", type="filepath", image_mode=None),
            gr.Radio(list(SIDES), value="detect", label="side"),
            gr.Slider(1, MOST_HYPOTHESES, NUM_HYPOTHESES, step=1, label="hypotheses"),
            gr.Slider(1, MOST_STEPS, config.num_inference_steps, step=1, label="joint_steps"),
            gr.Slider(1, MOST_STEPS, config.num_mesh_inference_steps, step=1, label="mesh_steps"),
            gr.Number(0, precision=0, minimum=0, maximum=MOST_SEED, label="seed"),
            gr.Dropdown(list(AGGREGATIONS), value=DEFAULT_AGGREGATION, label="aggregation"),
        ]
        outputs = [gr.File(label="glb"), gr.JSON(label="answer"), gr.Image(label="picture", format="jpeg")]
        gr.Button("predict").click(predict, inputs, outputs, api_name="predict", preprocess=False)
