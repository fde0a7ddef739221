"""The photo tab: which step of a session each of its components starts, and where its results are shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gradio as gr
from answering import Settings
from components import message
from device import spaces
from line import Line
from photo_layout import EXAMPLES, lay_out_photo_tab
from reading import clicked_place, joint_number, photo_source, read_settings, table_rows
from session import PageUpdate, SessionSteps, hand_choices, in_photo, nearest_joint
from visitor_files import KEEP_SECONDS

from hf_handdiff.errors import InputError

_NUM_SETTINGS = 7
_OPTIONS = {"preprocess": False, "api_visibility": "private"}  # values are read and checked by `reading`


def photo_tab(page: gr.Blocks, steps: SessionSteps, line: Line, config, checkpoint: str) -> None:
    """Make the tab.

    Args:
        page: the page that it is on.
        steps: the steps of a session.
        line: where all work of the Space waits its turn.
        config: the pipeline's.
        checkpoint: what the JSON files call the weights.
    """
    session = gr.State(None, time_to_live=KEEP_SECONDS)
    inputs, answer, sampling, details = lay_out_photo_tab(config)
    pictures = answer.pictures | {"keypoints": details.picture}
    settings = [
        answer.ghosts,
        inputs.side,
        sampling.hypotheses,
        sampling.joint_steps,
        sampling.mesh_steps,
        sampling.seed,
        sampling.aggregation,
    ]
    outputs = [
        session,
        answer.view,
        *pictures.values(),
        answer.glb,
        answer.json_file,
        answer.told,
        details.errors,
        details.rows,
        details.joint,
        inputs.chosen,
        inputs.note,
    ]
    names = list(pictures)
    waiting = _OPTIONS | {"show_progress": "minimal", "show_progress_on": [answer.told]}

    async def show(step: Callable[[], PageUpdate], with_hypotheses) -> list:
        """The updates of `outputs` that a step brings; a refusal leaves the page as it is, with a message."""
        try:
            return _updates(await line.run(step), names, with_hypotheses)
        except InputError as error:
            return _unchanged(outputs, str(error))

    def as_settings(values) -> Settings:
        return read_settings(*values[1:_NUM_SETTINGS], checkpoint)

    def on(triggers, step, *extra, **options):
        """Run step(session, settings, *values of extra) on triggers."""

        async def handle(known, *values):
            return await show(lambda: step(known, as_settings(values), *values[_NUM_SETTINGS:]), values[0])

        return gr.on(triggers, handle, [session, *settings, *extra], outputs, **waiting, **options)

    def begin(known, asked, photo):
        return steps.begin(photo_source(photo), asked)

    async def begin_or_clear(known, *values):
        """Another photo, or none: nothing of the one before may stay."""
        photo = values[_NUM_SETTINGS]
        if photo is None:
            return _cleared(names, message("Upload a photo, take one with the webcam, or pick an example.", "hint"))
        try:
            shown = await line.run(lambda: begin(known, as_settings(values), photo))
        except InputError as error:
            return _cleared(names, message(str(error)))
        return _updates(shown, names, values[0])

    async def click(event: gr.SelectData, known, *values):
        """Pick the joint nearest to the click, or move the one that is picked there."""
        try:
            x, y = clicked_place(event.index)
            if known is None or known.picked is None:
                picked = steps.pick(known, nearest_joint(known, x, y))
                return _picked(*picked, outputs, details.picture, session, details.joint)
        except InputError as error:
            return _unchanged(outputs, str(error))
        moved = known.keypoints.moved(known.picked, *in_photo(known, x, y))
        return await show(lambda: steps.edit(known, moved, as_settings(values)), values[0])

    inputs.photo.change(begin_or_clear, [session, *settings, inputs.photo], outputs, **waiting)
    on([inputs.run.click, inputs.side.input], begin, inputs.photo)
    sliders = [sampling.hypotheses, sampling.joint_steps, sampling.mesh_steps, sampling.seed, sampling.aggregation]
    on([slider.input for slider in sliders], steps.answer_again, trigger_mode="always_last")
    on([inputs.chosen.input], lambda known, asked, number: steps.choose(known, number, asked), inputs.chosen)
    on(
        [details.rows.input],
        lambda known, asked, table: steps.edit_rows(known, table_rows(table), asked),
        details.rows,
    )
    on([details.hide.click], lambda known, asked, joint: _hide(steps, known, joint, asked), details.joint)
    on([details.estimate.click], steps.estimate)
    details.picture.select(click, [session, *settings], outputs, **waiting)
    details.joint.input(
        lambda known, joint: [gr.skip()] * 2 if known is None else steps.pick(known, joint_number(joint)),
        [session, details.joint],
        [session, details.picture],
        show_progress="hidden",
        **_OPTIONS,
    )
    answer.ghosts.input(
        lambda known, shown: gr.skip() if known is None else _in_3d(known, shown),
        [session, answer.ghosts],
        answer.view,
        show_progress="hidden",
        **_OPTIONS,
    )
    if spaces is None:  # on ZeroGPU a session must not cost before its visitor asks
        page.load(lambda: EXAMPLES[0], None, inputs.photo, api_visibility="private")


def _hide(steps: SessionSteps, known, joint: Any, asked: Settings) -> PageUpdate:
    number = joint_number(joint)
    if known is not None and number is None:
        raise InputError("Which joint? Click it in the picture, or choose it in the list.")
    return steps.edit(known, known.keypoints.hidden(number) if known else None, asked)


def _updates(shown: PageUpdate, names: list[str], with_hypotheses) -> list:
    session = shown.session
    several = len(session.hands) > 1
    return [
        session,
        _in_3d(session, with_hypotheses),
        *(session.files.pictures[name] for name in names),
        gr.update(value=session.files.glb, interactive=True),
        gr.update(value=session.files.json, interactive=True),
        shown.facts,
        shown.errors,
        shown.rows,
        None,
        gr.update(choices=hand_choices(session), value=session.chosen, visible=several),
        message(shown.warning, "warning"),
    ]


def _unchanged(outputs: list, error: str) -> list:
    return [gr.skip()] * (len(outputs) - 1) + [message(error)]


def _in_3d(session, with_hypotheses) -> str:
    path = session.files.glb if with_hypotheses else session.files.answer_glb
    if not os.path.exists(path):
        raise InputError("The files of this answer were removed after an hour: press Answer again.")
    return path


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


def _picked(session, picture, outputs, picture_output, session_output, joint_output) -> list:
    """The updates after a joint was picked, and nothing else changed."""
    changed = {session_output: session, picture_output: picture, joint_output: session.picked}
    return [changed.get(output, gr.skip()) for output in outputs]
