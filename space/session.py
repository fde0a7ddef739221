"""One visitor's way: a photo, the hands in it, the keypoints as they were edited, and what is shown at each step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from answering import (
    Answer,
    Keypoints,
    Photo,
    Settings,
    answer_hand,
    find_hands,
    keypoint_rows,
    keypoints_of_rows,
    load_photo,
)
from components import error_table, facts
from PIL import Image, ImageDraw
from reading import whole_number
from results import ResultFiles, write_picture, write_results
from visitor_files import VisitorFiles

from hf_handdiff.errors import InputError
from hf_handdiff.export.records import HandToPredict
from hf_handdiff.viz import draw_panels, panel_window

PANEL = 480
"""Side of the pictures, px."""


@dataclass(frozen=True)
class Session:
    """What is kept of a visitor between two clicks.

    Attributes:
        photo: the photo.
        side: what was asked for when its hands were found.
        hands: all of its hands.
        chosen: which of them is answered for.
        keypoints: the 2D points of the answer that is shown.
        edited: whether they were edited, so that they stand in for the estimate.
        window: left, top, side px of the square of the photo that the pictures show.
        picture: the keypoints in that square.
        picked: the joint that the next click moves, or None.
        files: what can be downloaded.
    """

    photo: Photo
    side: str
    hands: list[HandToPredict]
    chosen: int = 0
    keypoints: Keypoints | None = None
    edited: bool = False
    window: tuple[float, float, float] = (0.0, 0.0, 1.0)
    picture: Image.Image | None = None
    picked: int | None = None
    files: ResultFiles | None = None


@dataclass(frozen=True)
class PageUpdate:
    """What the page shows after a step."""

    session: Session
    facts: str
    errors: str
    rows: list[list[Any]] = field(default_factory=list)
    warning: str = ""


@dataclass(frozen=True)
class SessionSteps:
    """The steps of a session, each from the session before to what is shown.

    Args:
        find: (photo, side) -> hands, as `answering.find_hands` with its pipeline.
        answer: (photo, hand, settings, keypoints or None) -> answer, as `answering.answer_hand` with its pipeline.
        files: where results are written.
    """

    find: Callable[[Photo, str], list[HandToPredict]]
    answer: Callable[..., Answer]
    files: VisitorFiles

    @classmethod
    def of_pipeline(
        cls, pipeline, files: VisitorFiles, wrap: Callable[[Callable], Callable] = lambda function: function
    ) -> SessionSteps:
        """The steps with a pipeline; `wrap` is put round what runs the networks."""

        def find(photo, side):
            return find_hands(pipeline, photo, side)

        def answer(photo, hand, settings, keypoints):
            return answer_hand(pipeline, photo, hand, settings, keypoints)

        return cls(wrap(find), wrap(answer), files)

    def begin(self, source: str | bytes | None, settings: Settings) -> PageUpdate:
        """A photo's largest hand; `source` as `answering.load_photo` takes it.

        Raises:
            InputError: there is no photo, it cannot be read, or no hand is in it.
        """
        started = time.perf_counter()
        photo = load_photo(source)
        return self._show(Session(photo, settings.side, self.find(photo, settings.side)), settings, started)

    def answer_again(self, session: Session | None, settings: Settings) -> PageUpdate:
        """The same hand and keypoints with other settings."""
        return self._show(_checked(session), settings)

    def choose(self, session: Session | None, hand: Any, settings: Settings) -> PageUpdate:
        """Another hand of the photo, by its number."""
        number = whole_number(hand, "hand", 0, len(_checked(session).hands) - 1)
        return self._show(replace(session, chosen=number, edited=False), settings)

    def edit(self, session: Session | None, keypoints: Keypoints, settings: Settings) -> PageUpdate:
        """The cascade's answer to other keypoints."""
        return self._show(replace(_checked(session), keypoints=keypoints, edited=True), settings)

    def edit_rows(self, session: Session | None, rows: list[list[Any]], settings: Settings) -> PageUpdate:
        """The cascade's answer to an edited table of keypoints."""
        return self.edit(session, keypoints_of_rows(rows, _checked(session).keypoints), settings)

    def estimate(self, session: Session | None, settings: Settings) -> PageUpdate:
        """Back to the keypoints that the image encoder sees."""
        return self._show(replace(_checked(session), edited=False), settings)

    def _show(self, session: Session, settings: Settings, started: float | None = None) -> PageUpdate:
        started = time.perf_counter() if started is None else started
        keypoints = session.keypoints if session.edited else None
        answer = self.answer(session.photo, session.hands[session.chosen], settings, keypoints)
        panels = draw_panels(session.photo.pixels, answer.placed, PANEL)
        session = replace(
            session,
            keypoints=answer.keypoints,
            window=panel_window(session.photo.pixels, answer.placed),
            picture=panels["keypoints"],
            picked=None,
            files=write_results(answer, panels, self.files.new_folder()),
        )
        return PageUpdate(
            session,
            facts(answer, time.perf_counter() - started),
            error_table(answer),
            keypoint_rows(answer.keypoints),
            answer.warning,
        )

    def pick(self, session: Session | None, joint: int | None) -> tuple[Session, str]:
        """Let the next click move a joint (None: none); the session, and the path of the picture that rings it."""
        session, picture = pick(session, joint)
        return session, write_picture(picture, self.files.new_folder() / "keypoints.jpg")


def pick(session: Session | None, joint: int | None) -> tuple[Session, Image.Image]:
    """Let the next click move a joint (None: none); the session, and the picture with a ring round the joint."""
    session = replace(_checked(session), picked=joint)
    picture = session.picture.copy()
    if joint is not None and np.isfinite(session.keypoints.points[joint]).all():
        x, y = _to_picture(session, session.keypoints.points[joint])
        draw = ImageDraw.Draw(picture)
        for radius, color, width in ((15, (0, 0, 0), 6), (14, (255, 255, 255), 3)):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=width)
    return session, picture


def nearest_joint(session: Session | None, x: float, y: float) -> int:
    """The seen joint that is nearest to a click at (x, y) px of the picture."""
    session = _checked(session)
    distances = np.linalg.norm(_to_picture(session, session.keypoints.points) - (x, y), axis=-1)
    if np.isnan(distances).all():
        raise InputError("No keypoint is seen: choose the joint in the list.")
    return int(np.nanargmin(distances))


def in_photo(session: Session | None, x: float, y: float) -> tuple[float, float]:
    """Where a click at (x, y) px of the picture lies in the working photo, px."""
    left, top, side = _checked(session).window
    return left + x * side / PANEL, top + y * side / PANEL


def hand_choices(session: Session) -> list[tuple[str, int]]:
    """Labels and numbers of the photo's hands, for a choice."""
    return [(f"{number + 1}: {hand.handedness} hand", number) for number, hand in enumerate(session.hands)]


def _to_picture(session: Session, points: np.ndarray) -> np.ndarray:
    left, top, side = session.window
    return (points - (left, top)) * PANEL / side


def _checked(session: Session | None) -> Session:
    if session is None:
        raise InputError("There is no photo yet: upload one, take one with the webcam, or pick an example.")
    return session
