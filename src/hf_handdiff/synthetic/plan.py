"""What a sample is to show, drawn before anything else: most of all the shares of plain and of difficult images."""

from dataclasses import dataclass

import numpy as np

PLAIN_SHARE = 0.4
"""Hands as easy as most: nothing held, no other hand, nothing in front, an everyday view, ordinary light."""
# The rest, which share these: what is with the hand ...
SUBJECT_SHARES = {"bare": 0.19, "held": 0.41, "two_hands": 0.22, "hidden": 0.18}
ALSO_HIDDEN_SHARE = 0.15  # of those that hold something or touch another hand
# ... and each of these for itself.
VIEW_SHARES = {"everyday": 0.58, "from_arm": 0.11, "from_tips": 0.11, "edge": 0.2}
LIGHT_SHARES = {"ordinary": 0.6, "hard": 0.14, "back": 0.09, "coloured": 0.08, "low": 0.09}
CLOSED_SHARE = 0.4  # of hands that hold nothing
PINCH_SHARE = 0.3  # of hands that hold something: between the tips of thumb and finger
GLOVE_SHARE = 0.09
MOVING_SHARE = 0.1

KINDS = {
    "plain": "none of what follows",
    "held": "holds a thing",
    "two_hands": "touches or clasps another hand",
    "hidden": "something else in front: a thing, a hand, a patch",
    "closed": "a fist or curled fingers, nothing held",
    "from_arm": "seen from the elbow's side, along the forearm",
    "from_tips": "seen from the fingertips' side, along the fingers",
    "edge": "seen from the thumb's or the little finger's side",
    "glove": "wears a glove",
    "hard": "one strong light with hard shadows",
    "back": "light from behind",
    "coloured": "coloured light",
    "low": "very little light, and noise",
    "moving": "the hand moves, what is behind it does not",
}
"""The kinds of images and what each shows; an image can be of several."""


@dataclass(frozen=True)
class ScenePlan:
    """What a sample is to show.

    subject: "bare", "held", "two_hands" or "hidden"; also_hidden: something in front besides; view: "everyday",
    "from_arm", "from_tips" or "edge"; light: "ordinary", "hard", "back", "coloured" or "low"; closed: a fist or curled
    fingers; pinched: what is held is held by the tips of thumb and finger; glove; moving.
    """

    subject: str = "bare"
    also_hidden: bool = False
    view: str = "everyday"
    light: str = "ordinary"
    closed: bool = False
    pinched: bool = False
    glove: bool = False
    moving: bool = False


def sample_plan(rng: np.random.Generator) -> ScenePlan:
    """A random plan, by the shares at the top of this file."""
    if rng.random() < PLAIN_SHARE:
        return ScenePlan()
    subject, view, light = (_draw(shares, rng) for shares in (SUBJECT_SHARES, VIEW_SHARES, LIGHT_SHARES))
    also_hidden, closed, pinched, glove, moving = rng.random(5) < (
        ALSO_HIDDEN_SHARE,
        CLOSED_SHARE,
        PINCH_SHARE,
        GLOVE_SHARE,
        MOVING_SHARE,
    )
    held = subject == "held"
    return ScenePlan(
        subject=subject,
        also_hidden=bool(also_hidden and subject in ("held", "two_hands")),
        view=view,
        light=light,
        closed=bool(closed and not held),
        pinched=bool(pinched and held),
        glove=bool(glove),
        moving=bool(moving),
    )


def _draw(shares: dict[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))
