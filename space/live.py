"""The live tab: one frame of the webcam in, the same frame with the answer out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from answering import Answer, Settings, answer_hand, find_hands, photo_of_frame
from PIL import Image, ImageOps

from hf_handdiff.errors import InputError
from hf_handdiff.export.records import HandToPredict
from hf_handdiff.viz import draw_panels
from hf_handdiff.viz.overlay import LOW_HAND_SCORE

PANEL = 360
_MOST_GROWTH = 1.6
"""A box that grows more than this from one frame to the next has lost its hand."""


@dataclass(frozen=True)
class LiveFrame:
    """What is shown of a frame.

    Attributes:
        answer_picture: the surroundings of the hand with the mesh of the answer, mirrored as the visitor is.
        spread_picture: the same with all hypotheses and expected errors.
        answer: all numbers.
        tracked: where to look for the hand in the next frame.
    """

    answer_picture: Image.Image
    spread_picture: Image.Image
    answer: Answer
    tracked: HandToPredict | None


def answer_frame(pipeline, mirrored: np.ndarray, tracked: HandToPredict | None, settings: Settings) -> LiveFrame:
    """Answer for the largest hand of a webcam's frame.

    The detector is asked only where no hand was followed from the last frame.

    Args:
        pipeline: the cascade.
        mirrored: (H, W, 3) uint8 RGB, mirrored as webcams show their owner.
        tracked: `LiveFrame.tracked` of the last frame, or None.
        settings: few hypotheses, to be quick.

    Raises:
        InputError: there is no hand.
    """
    photo = photo_of_frame(np.ascontiguousarray(mirrored[:, ::-1]))  # as others see the visitor: sides are right
    hand = tracked or find_hands(pipeline, photo, settings.side)[0]
    answer = answer_hand(pipeline, photo, hand, settings)
    if not float(answer.output.hand_score[0]) >= LOW_HAND_SCORE:
        if tracked is None:
            raise InputError(answer.warning)
        return answer_frame(pipeline, mirrored, None, settings)
    pictures = draw_panels(photo.pixels, answer.placed, PANEL, ("answer", "spread"))
    return LiveFrame(
        ImageOps.mirror(pictures["answer"]),
        ImageOps.mirror(pictures["spread"]),
        answer,
        _next_place(hand, answer.keypoints.points, photo.pixels.shape[:2]),
    )


def _next_place(hand: HandToPredict, points: np.ndarray, image_size: tuple[int, int]) -> HandToPredict | None:
    """The box round the keypoints of this frame; None where it went out of the picture or blew up."""
    low, high = points.min(axis=0), points.max(axis=0)
    before = max(image_size) if hand.box is None else max(hand.box[2] - hand.box[0], hand.box[3] - hand.box[1])
    centre = (low + high) / 2
    inside = bool((centre > 0).all() and (centre < np.array(image_size[::-1])).all())
    if not inside or (high - low).max() > _MOST_GROWTH * before or (high - low).min() < 8:
        return None
    return replace(hand, box=(*low.tolist(), *high.tolist()))
