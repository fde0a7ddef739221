"""The Space: the page of `hf_handdiff`. Run it with `python app.py`; what it does lies in the modules beside it.

Environment: HANDDIFF_CHECKPOINT, a folder or a Hub repository; without it, the weights of the package.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from device import on_gpu, spaces  # first: on ZeroGPU `spaces` must be there before torch

# isort: split
import json
import time
from pathlib import Path

import gradio as gr
from answering import Settings
from live import answer_frame
from pieces import color_scale, error_table, facts, message
from style import CSS, SCENE_COLOR, THEME
from visit import Shown, Steps, hand_choices, in_photo, nearest_joint, pick

from hf_handdiff.cli.loading import load_pipeline
from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import JOINT_NAMES
from hf_handdiff.pipelines.aggregation import AGGREGATIONS

EXAMPLES = sorted(str(path) for path in (Path(__file__).parent / "examples").glob("*.jpg"))
SIDES = [("Detect", "detect"), ("Right", "right"), ("Left", "left")]
MOST_HYPOTHESES, MOST_LIVE_HYPOTHESES = 50, 8
LARGEST_UPLOAD = "30mb"
SESSIONS_KEPT = 100  # a session keeps its photo, up to 8 MB

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

Photos are worked on in memory; the files that you can download are removed after an hour. The examples are renders from
the package's own test set, no person was photographed. Code and weights: Apache-2.0.
"""


def build(pipeline, checkpoint: str = "base") -> gr.Blocks:
    """The page.

    Args:
        pipeline: the cascade, with a hand detector.
        checkpoint: what the JSON files call its weights.
    """
    steps = Steps.of_pipeline(pipeline, wrap=on_gpu)
    with gr.Blocks(title="One photo, many hands", analytics_enabled=False, delete_cache=(1800, 3600)) as page:
        gr.HTML(HERO, padding=False)
        with gr.Tabs():
            with gr.Tab("Photo", id="photo"):
                _photo_tab(page, steps, pipeline.config, checkpoint)
            with gr.Tab("Live webcam", id="live"):
                _live_tab(on_gpu(lambda *frame: answer_frame(pipeline, *frame)))
            with gr.Tab("How to read it", id="about"):
                gr.Markdown(HOW_TO_READ)
        _endpoint(steps, pipeline.config, checkpoint)
    return page


# ------------------------------------------------------------------------------------------------ photo


def _photo_tab(page: gr.Blocks, steps: Steps, config, checkpoint: str) -> None:
    visit = gr.State(None, time_to_live=3600)
    with gr.Row(elem_id="main"):
        with gr.Column(elem_id="main-photo"):
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
            side = gr.Radio(SIDES, value="detect", label="Which hand", elem_id="side")
            chosen = gr.Radio([], label="Several hands were found: answer for", visible=False, elem_id="chosen")
            run = gr.Button("Answer", variant="primary", elem_id="run")
            note = gr.HTML(padding=False, elem_id="note")
        with gr.Column(elem_id="main-answer"):
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
                    name: _picture(label, f"{name}-picture")
                    for name, label in (("answer", "Answer"), ("spread", "Hypotheses"), ("side", "From the side"))
                }
            with gr.Row():
                glb = gr.DownloadButton("Download GLB", size="sm", min_width=120, interactive=False, elem_id="glb")
                json_file = gr.DownloadButton(
                    "Download JSON", size="sm", min_width=120, interactive=False, elem_id="json"
                )
        with gr.Column(elem_id="main-settings"):
            hypotheses = gr.Slider(1, MOST_HYPOTHESES, 20, step=1, label="Hypotheses", elem_id="hypotheses")
            seed = gr.Slider(0, 999, 0, step=1, label="Seed", elem_id="seed")
            with gr.Accordion("More settings", open=False):
                joint_steps = gr.Slider(1, 50, config.num_inference_steps, step=1, label="Steps of stage 1 (joints)")
                mesh_steps = gr.Slider(
                    1, 50, config.num_mesh_inference_steps, step=1, label="Steps of stage 2 (meshes)"
                )
                aggregation = gr.Dropdown(list(AGGREGATIONS), value="mean", label="One answer by")
    with gr.Row(elem_id="details"):
        with gr.Column(elem_id="details-errors"):
            gr.HTML('<h3 class="section-title">Expected error of each joint</h3>', padding=False)
            errors = gr.HTML(padding=False, elem_id="errors")
        with gr.Column(elem_id="details-keypoints"):
            gr.HTML('<h3 class="section-title">Edit the keypoints</h3>', padding=False)
            with gr.Row():
                with gr.Column(min_width=280):
                    pictures["keypoints"] = _picture("Click a joint, then where it should be", "keypoint-picture")
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

    settings = [ghosts, side, hypotheses, joint_steps, mesh_steps, seed, aggregation]
    given = len(settings)
    outputs = [
        visit,
        view,
        *pictures.values(),
        glb,
        json_file,
        told,
        errors,
        rows,
        joint,
        chosen,
        note,
    ]
    names = list(pictures)

    def show(step, with_hypotheses):
        """The updates of `outputs` that a step brings; a refusal leaves the page as it is, with a message."""
        try:
            shown = step()
        except InputError as error:
            return [gr.skip()] * (len(outputs) - 1) + [message(str(error))]
        return _updates(shown, names, with_hypotheses)

    def as_settings(values) -> Settings:
        return _settings(*values[1:given], checkpoint)

    def on(triggers, step, *extra, **options):
        """Run step(visit, settings, *values of extra) on triggers."""
        return gr.on(
            triggers,
            lambda known, *values: show(lambda: step(known, as_settings(values), *values[given:]), values[0]),
            [visit, *settings, *extra],
            outputs,
            show_progress="minimal",
            show_progress_on=[told],
            api_visibility="private",
            **options,
        )

    def begin(known, chosen_settings, path):
        return steps.begin(path, chosen_settings)

    def begin_or_clear(known, *values):
        """Another photo, or none: nothing of the one before may stay."""
        if values[given] is None:
            return _cleared(names, message("Upload a photo, take one with the webcam, or pick an example.", "hint"))
        try:
            return _updates(begin(known, as_settings(values), values[given]), names, values[0])
        except InputError as error:
            return _cleared(names, message(str(error)))

    def click(event: gr.SelectData, known, *values):
        if known is None:
            return show(lambda: pick(None, None), True)
        x, y = event.index
        if known.picked is None:
            return _picked(*pick(known, nearest_joint(known, x, y)), outputs, pictures["keypoints"], visit, joint)
        moved = known.keypoints.moved(known.picked, *in_photo(known, x, y))
        return show(lambda: steps.edit(known, moved, as_settings(values)), values[0])

    def hide_picked(known, chosen_settings, number):
        if known is not None and number is None:
            raise InputError("Which joint? Click it in the picture, or choose it in the list.")
        return steps.edit(known, known.keypoints.hidden(number) if known else None, chosen_settings)

    quiet = {
        "show_progress": "minimal",
        "show_progress_on": [told],
        "api_visibility": "private",
    }
    photo.change(begin_or_clear, [visit, *settings, photo], outputs, **quiet)
    on([run.click, side.input], begin, photo)
    sliders = (hypotheses, joint_steps, mesh_steps, seed, aggregation)
    on([slider.input for slider in sliders], lambda known, asked: steps.again(known, asked), trigger_mode="always_last")
    on([chosen.input], lambda known, asked, number: steps.choose(known, number, asked), chosen)
    on([rows.input], lambda known, asked, table: steps.edit_rows(known, table, asked), rows)
    on([hide.click], hide_picked, joint)
    on([estimate.click], lambda known, asked: steps.estimate(known, asked))
    pictures["keypoints"].select(click, [visit, *settings], outputs, **quiet)
    joint.input(
        lambda known, number: gr.skip() if known is None else pick(known, number),
        [visit, joint],
        [visit, pictures["keypoints"]],
        show_progress="hidden",
        api_visibility="private",
    )
    ghosts.input(
        lambda known, shown: gr.skip() if known is None else _in_3d(known, shown),
        [visit, ghosts],
        view,
        show_progress="hidden",
        api_visibility="private",
    )
    if spaces is None:  # on ZeroGPU a visit must not cost before its visitor asks
        page.load(lambda: EXAMPLES[0], None, photo, api_visibility="private")


def _picture(label: str, elem_id: str) -> gr.Image:
    return gr.Image(
        label=label,
        format="jpeg",
        interactive=False,
        buttons=[],
        min_width=150,
        elem_id=elem_id,
        elem_classes="picture",
    )


def _updates(shown: Shown, names: list[str], with_hypotheses: bool) -> list:
    visit = shown.visit
    several = len(visit.hands) > 1
    return [
        visit,
        _in_3d(visit, with_hypotheses),
        *(shown.panels[name] for name in names),
        gr.update(value=visit.files.glb, interactive=True),
        gr.update(value=visit.files.json, interactive=True),
        shown.facts,
        shown.errors,
        shown.rows,
        None,
        gr.update(choices=hand_choices(visit), value=visit.chosen, visible=several),
        message(shown.warning, "warning"),
    ]


def _in_3d(visit, with_hypotheses: bool) -> str:
    return visit.files.glb if with_hypotheses else visit.files.answer_glb


def _cleared(names: list[str], note: str) -> list:
    """The page without an answer, and why."""
    button = gr.update(value=None, interactive=False)
    return [
        None,
        None,
        *(None for _ in names),
        button,
        button,
        "",
        "",
        None,
        None,
        gr.update(visible=False),
        note,
    ]


def _picked(visit, picture, outputs, picture_output, visit_output, joint_output) -> list:
    """The updates after a joint was picked, and nothing else changed."""
    changed = {visit_output: visit, picture_output: picture, joint_output: visit.picked}
    return [changed.get(output, gr.skip()) for output in outputs]


def _settings(side, hypotheses, joint_steps, mesh_steps, seed, aggregation, checkpoint) -> Settings:
    return Settings(side, int(hypotheses), int(joint_steps), int(mesh_steps), int(seed), aggregation, checkpoint)


# ------------------------------------------------------------------------------------------------- live


def _live_tab(answer) -> None:
    tracked = gr.State(None, time_to_live=600)
    with gr.Row():
        with gr.Column(scale=4, min_width=300):
            camera = gr.Image(
                label="Webcam",
                type="numpy",
                sources=["webcam"],
                streaming=True,
                height=330,
                webcam_options=gr.WebcamOptions(mirror=True),
                elem_id="camera",
            )
            side = gr.Radio(SIDES, value="detect", label="Which hand")
            hypotheses = gr.Slider(1, MOST_LIVE_HYPOTHESES, 4, step=1, label="Hypotheses")
            note = gr.HTML(
                message("Start the camera and hold one hand into the picture.", "hint"),
                padding=False,
                elem_id="live-note",
            )
        with gr.Column(scale=6, min_width=300):
            with gr.Row():
                answered = _picture("Answer", "live-answer")
                spread = _picture("Hypotheses", "live-spread")
            told = gr.HTML(padding=False, elem_id="live-facts")
            errors = gr.HTML(padding=False, elem_id="live-errors")

    def step(frame, known, chosen_side, count):
        if frame is None:
            return [None] + [gr.skip()] * 5
        started = time.perf_counter()
        try:
            live = answer(frame, known, Settings(chosen_side, int(count)))
        except InputError:
            return [None] + [gr.skip()] * 4 + [message("No hand in the picture.", "warning")]
        seconds = time.perf_counter() - started
        return [
            live.tracked,
            live.answer_picture,
            live.spread_picture,
            facts(live.answer, seconds),
            error_table(live.answer),
            "",
        ]

    camera.stream(
        step,
        [camera, tracked, side, hypotheses],
        [tracked, answered, spread, told, errors, note],
        stream_every=0.2,
        time_limit=120,
        concurrency_limit=2,
        show_progress="hidden",
        api_visibility="private",
    )
    side.input(lambda: None, None, tracked, api_visibility="private", show_progress="hidden")


# --------------------------------------------------------------------------------------------- endpoint


def _endpoint(steps: Steps, config, checkpoint: str) -> None:
    """`/predict` for programs: a photo and settings in; GLB, the content of the JSON file, and pictures out."""

    def predict(photo, side, hypotheses, joint_steps, mesh_steps, seed, aggregation):
        asked = _settings(side, hypotheses, joint_steps, mesh_steps, seed, aggregation, checkpoint)
        try:
            shown = steps.begin(photo, asked)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        files = shown.visit.files
        return files.glb, json.loads(Path(files.json).read_text()), shown.panels["answer"]

    with gr.Row(visible=False):
        inputs = [
            gr.Image(label="photo", type="filepath", image_mode=None),
            gr.Radio([value for _, value in SIDES], value="detect", label="side"),
            gr.Slider(1, MOST_HYPOTHESES, 20, step=1, label="hypotheses"),
            gr.Slider(1, 50, config.num_inference_steps, step=1, label="joint_steps"),
            gr.Slider(1, 50, config.num_mesh_inference_steps, step=1, label="mesh_steps"),
            gr.Number(0, precision=0, minimum=0, label="seed"),
            gr.Dropdown(list(AGGREGATIONS), value="mean", label="aggregation"),
        ]
        outputs = [gr.File(label="glb"), gr.JSON(label="answer"), gr.Image(label="picture", format="jpeg")]
        gr.Button("predict").click(predict, inputs, outputs, api_name="predict")


def main() -> None:
    """Load the weights and serve the page."""
    checkpoint = os.environ.get("HANDDIFF_CHECKPOINT")
    page = build(load_pipeline(checkpoint), checkpoint or "base")
    page.queue(default_concurrency_limit=2, max_size=32)
    page.launch(
        theme=THEME,
        css=CSS,
        max_file_size=LARGEST_UPLOAD,
        state_session_capacity=SESSIONS_KEPT,
        ssr_mode=False,
        footer_links=["api", "gradio"],
    )


if __name__ == "__main__":
    main()
