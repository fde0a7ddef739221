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
from photo_layout import EXAMPLES, PhotoAnswer, PhotoDetails, PhotoInputs, PhotoSettings, lay_out_photo_tab
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
    inputs, *others = lay_out_photo_tab(config)
    _PhotoTab(steps, line, checkpoint, session, inputs, *others).connect()
    if spaces is None:  # on ZeroGPU a session must not cost before its visitor asks
        page.load(lambda: EXAMPLES[0], None, inputs.photo, api_visibility="private")


class _PhotoTab:
    """The components of one tab and what they start; the session is the visitor's, and none is kept here."""

    def __init__(
        self,
        steps: SessionSteps,
        line: Line,
        checkpoint: str,
        session: gr.State,
        inputs: PhotoInputs,
        answer: PhotoAnswer,
        sampling: PhotoSettings,
        details: PhotoDetails,
    ):
        self.steps, self.line, self.checkpoint = steps, line, checkpoint
        self.session, self.inputs, self.answer, self.sampling, self.details = session, inputs, answer, sampling, details
        pictures = answer.pictures | {"keypoints": details.picture}
        self.names = list(pictures)
        self.sliders = [
            sampling.hypotheses,
            sampling.joint_steps,
            sampling.mesh_steps,
            sampling.seed,
            sampling.aggregation,
        ]
        self.settings = [answer.ghosts, inputs.side, *self.sliders]
        self.outputs = [
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
        self.waiting = _OPTIONS | {"show_progress": "minimal", "show_progress_on": [answer.told]}

    def connect(self) -> None:
        """Say what each component starts."""
        steps, inputs, details = self.steps, self.inputs, self.details
        given = [self.session, *self.settings]
        inputs.photo.change(self.begin_or_clear, [*given, inputs.photo], self.outputs, **self.waiting)
        self.on([inputs.run.click, inputs.side.input], self.begin, inputs.photo)
        self.on([slider.input for slider in self.sliders], steps.answer_again, trigger_mode="always_last")
        self.on([inputs.chosen.input], lambda known, asked, number: steps.choose(known, number, asked), inputs.chosen)
        self.on(
            [details.rows.input],
            lambda known, asked, table: steps.edit_rows(known, table_rows(table), asked),
            details.rows,
        )
        self.on([details.hide.click], lambda known, asked, joint: _hide(steps, known, joint, asked), details.joint)
        self.on([details.estimate.click], steps.estimate)
        details.picture.select(self.click, given, self.outputs, **self.waiting)
        details.joint.input(
            lambda known, joint: [gr.skip()] * 2 if known is None else steps.pick(known, joint_number(joint)),
            [self.session, details.joint],
            [self.session, details.picture],
            show_progress="hidden",
            **_OPTIONS,
        )
        self.answer.ghosts.input(
            lambda known, shown: gr.skip() if known is None else _in_3d(known, shown),
            [self.session, self.answer.ghosts],
            self.answer.view,
            show_progress="hidden",
            **_OPTIONS,
        )

    def on(self, triggers: list, step: Callable[..., PageUpdate], *extra, **options) -> None:
        """Run step(session, settings, *values of extra) on triggers."""

        async def handle(known, *values):
            return await self.show(lambda: step(known, self.asked(values), *values[_NUM_SETTINGS:]), values[0])

        gr.on(triggers, handle, [self.session, *self.settings, *extra], self.outputs, **self.waiting, **options)

    async def show(self, step: Callable[[], PageUpdate], with_hypotheses) -> list:
        """The updates of `outputs` that a step brings; a refusal leaves the page as it is, with a message."""
        try:
            return _updates(await self.line.run(step), self.names, with_hypotheses)
        except InputError as error:
            return _unchanged(self.outputs, str(error))

    def asked(self, values) -> Settings:
        """The values of `settings` as a step takes them."""
        return read_settings(*values[1:_NUM_SETTINGS], self.checkpoint)

    def begin(self, known, asked: Settings, photo) -> PageUpdate:
        """Look at the photo anew."""
        return self.steps.begin(photo_source(photo), asked)

    async def begin_or_clear(self, known, *values) -> list:
        """Another photo, or none: nothing of the one before may stay."""
        photo = values[_NUM_SETTINGS]
        if photo is None:
            return _cleared(
                self.names, message("Upload a photo, take one with the webcam, or pick an example.", "hint")
            )
        try:
            shown = await self.line.run(lambda: self.begin(known, self.asked(values), photo))
        except InputError as error:
            return _cleared(self.names, message(str(error)))
        return _updates(shown, self.names, values[0])

    async def click(self, event: gr.SelectData, known, *values) -> list:
        """Pick the joint nearest to the click, or move the one that is picked there."""
        try:
            x, y = clicked_place(event.index)
            if known is None or known.picked is None:
                picked = self.steps.pick(known, nearest_joint(known, x, y))
                return _picked(*picked, self.outputs, self.details.picture, self.session, self.details.joint)
        except InputError as error:
            return _unchanged(self.outputs, str(error))
        moved = known.keypoints.moved(known.picked, *in_photo(known, x, y))
        return await self.show(lambda: self.steps.edit(known, moved, self.asked(values)), values[0])


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
