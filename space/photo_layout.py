"""What stands on the photo tab; `photo_tab` says what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from components import color_scale
from reading import MOST_HYPOTHESES, MOST_STEPS
from style import SCENE_COLOR

from hf_handdiff.hand.topology import JOINT_NAMES
from hf_handdiff.pipelines.defaults import AGGREGATIONS, DEFAULT_AGGREGATION, NUM_HYPOTHESES

EXAMPLES = sorted(str(path) for path in (Path(__file__).parent / "examples").glob("*.jpg"))
SIDE_CHOICES = [("Detect", "detect"), ("Right", "right"), ("Left", "left")]


@dataclass(frozen=True)
class PhotoInputs:
    """What a visitor gives or asks for."""

    photo: gr.Image
    side: gr.Radio
    chosen: gr.Radio
    run: gr.Button
    note: gr.HTML


@dataclass(frozen=True)
class PhotoAnswer:
    """What is shown of an answer; `pictures` by their names in `viz.draw_panels`, all but the keypoints."""

    view: gr.Model3D
    ghosts: gr.Checkbox
    told: gr.HTML
    pictures: dict[str, gr.Image]
    glb: gr.DownloadButton
    json_file: gr.DownloadButton


@dataclass(frozen=True)
class PhotoSettings:
    """How the answer is sampled."""

    hypotheses: gr.Slider
    seed: gr.Slider
    joint_steps: gr.Slider
    mesh_steps: gr.Slider
    aggregation: gr.Dropdown


@dataclass(frozen=True)
class PhotoDetails:
    """Expected errors, and the keypoints as a picture, by name and as a table."""

    errors: gr.HTML
    picture: gr.Image
    joint: gr.Dropdown
    hide: gr.Button
    estimate: gr.Button
    rows: gr.Dataframe


def lay_out_photo_tab(config) -> tuple[PhotoInputs, PhotoAnswer, PhotoSettings, PhotoDetails]:
    """Make the components of the photo tab; `config` is the pipeline's."""
    with gr.Row(elem_id="main"):
        with gr.Column(elem_id="main-photo"):
            inputs = _inputs()
        with gr.Column(elem_id="main-answer"):
            answer = _answer()
        with gr.Column(elem_id="main-settings"):
            settings = _settings(config)
    with gr.Row(elem_id="details"):
        with gr.Column(elem_id="details-errors"):
            gr.HTML('<h3 class="section-title">Expected error of each joint</h3>', padding=False)
            errors = gr.HTML(padding=False, elem_id="errors")
        with gr.Column(elem_id="details-keypoints"):
            details = _details(errors)
    return inputs, answer, settings, details


def picture(label: str, elem_id: str) -> gr.Image:
    """A picture that is only shown."""
    return gr.Image(
        label=label,
        format="jpeg",
        interactive=False,
        buttons=[],
        min_width=150,
        elem_id=elem_id,
        elem_classes="picture",
    )


def _inputs() -> PhotoInputs:
    photo = gr.Image(
        label="Photo",
        type="filepath",
        image_mode=None,  # the file as it came: reading it, and its errors, are ours
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False),  # a mirrored hand is the other hand
        height=330,
        elem_id="photo",
    )
    gr.Examples(EXAMPLES, photo, label="Examples", examples_per_page=12)
    return PhotoInputs(
        photo,
        gr.Radio(SIDE_CHOICES, value="detect", label="Which hand", elem_id="side"),
        gr.Radio([], label="Several hands were found: answer for", visible=False, elem_id="chosen"),
        gr.Button("Answer", variant="primary", elem_id="run"),
        gr.HTML(padding=False, elem_id="note"),
    )


def _answer() -> PhotoAnswer:
    view = gr.Model3D(
        label="Answer and hypotheses: drag to turn",
        clear_color=SCENE_COLOR,
        camera_position=(90, 80, None),
        height=440,
        interactive=False,
        elem_id="view",
    )
    with gr.Row(equal_height=True, elem_id="under-view"):
        gr.HTML(color_scale(), padding=False)
        ghosts = gr.Checkbox(True, label="with hypotheses", container=False, elem_id="ghosts")
    told = gr.HTML(padding=False, elem_id="facts")
    with gr.Row():
        pictures = {
            name: picture(label, f"{name}-picture")
            for name, label in (("answer", "Answer"), ("spread", "Hypotheses"), ("side", "From the side"))
        }
    with gr.Row():
        glb, json_file = (
            gr.DownloadButton(f"{kind}, {what}", size="sm", min_width=120, interactive=False, elem_id=kind.lower())
            for kind, what in (("GLB", "meshes and rig"), ("JSON", "joints and parameters"))
        )
    return PhotoAnswer(view, ghosts, told, pictures, glb, json_file)


def _settings(config) -> PhotoSettings:
    hypotheses = gr.Slider(1, MOST_HYPOTHESES, NUM_HYPOTHESES, step=1, label="Hypotheses", elem_id="hypotheses")
    seed = gr.Slider(0, 999, 0, step=1, label="Seed", elem_id="seed")
    with gr.Accordion("More settings", open=False):
        joint_steps = gr.Slider(1, MOST_STEPS, config.num_inference_steps, step=1, label="Steps of stage 1 (joints)")
        mesh_steps = gr.Slider(
            1, MOST_STEPS, config.num_mesh_inference_steps, step=1, label="Steps of stage 2 (meshes)"
        )
        aggregation = gr.Dropdown(list(AGGREGATIONS), value=DEFAULT_AGGREGATION, label="One answer by")
    return PhotoSettings(hypotheses, seed, joint_steps, mesh_steps, aggregation)


def _details(errors: gr.HTML) -> PhotoDetails:
    gr.HTML('<h3 class="section-title">Edit the keypoints</h3>', padding=False)
    with gr.Row():
        with gr.Column(min_width=280):
            keypoints = picture("Click a joint, then where it should be", "keypoint-picture")
        with gr.Column(min_width=280):
            joint = gr.Dropdown(
                [(name.replace("_", " "), number) for number, name in enumerate(JOINT_NAMES)],
                value=None,
                label="Joint to move",
                elem_id="joint",
            )
            with gr.Row():
                hide = gr.Button("Mark as not seen", size="sm", min_width=120, elem_id="hide")
                estimate = gr.Button("Back to the estimate", size="sm", min_width=120, elem_id="estimate")
            with gr.Accordion("As a table (px; empty: not seen)", open=False):
                rows = gr.Dataframe(
                    headers=["joint", "x", "y", "score"],
                    datatype=["str", "number", "number", "number"],
                    type="array",
                    row_count=21,
                    column_count=4,
                    static_columns=[0, 3],
                    interactive=True,
                    show_label=False,
                    buttons=[],
                    max_height=330,
                    elem_id="keypoints",
                )
    return PhotoDetails(errors, keypoints, joint, hide, estimate, rows)
