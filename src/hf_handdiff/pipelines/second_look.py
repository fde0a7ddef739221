"""A second look at crops in which the encoder is unsure of the hand: from other squares than the first.

The framing pass says where in a crop the hand is and how it is turned. Where it is wrong the landmark pass rarely finds
the way back, but its distribution tells: it is wide. Such crops are looked at again, as wholes in four turns, and the
look that is surest by far is kept. Thresholds chosen on validation renders (EXPERIMENTS.md).
"""

import math
from dataclasses import fields

import torch

from hf_handdiff.models.hand_framing import HandFrame, frame_around_keypoints
from hf_handdiff.models.image_encoder import HandImageEncoder, HandImageEncoderOutput

TURNS = (0.0, math.pi / 2, math.pi, -math.pi / 2)
DOUBTFUL = 0.1
"""Standard deviation of a keypoint, in sides of the square, mean over the hand, above which a look is in doubt."""
SURER = 0.6
"""Another look has to bring that down to this share."""
_CROPS_AT_ONCE = 8


def look_again(encoder: HandImageEncoder, crops: torch.Tensor, first: HandImageEncoderOutput) -> HandImageEncoderOutput:
    """The first look, with the rows that were in doubt replaced where another square makes the encoder surer.

    Args:
        encoder: with a distribution of its keypoints; without one nothing is in doubt.
        crops: (B, 3, S, S) RGB in 0..1.
        first: what the encoder said of them.
    """
    if first.distribution is None:
        return first
    doubt = _uncertainty(first)
    rows = torch.nonzero(doubt > DOUBTFUL)[:, 0]
    for part in (rows[start : start + _CROPS_AT_ONCE] for start in range(0, len(rows), _CROPS_AT_ONCE)):
        others = _from_whole_crops(encoder, crops[part])
        by_turn = _uncertainty(others).unflatten(0, (len(TURNS), -1))  # (T, n)
        least, turn = by_turn.min(0)
        surer = least < SURER * doubt[part]
        number = torch.arange(len(part), device=turn.device)
        first = _with_rows(first, part[surer], others, (turn * len(part) + number)[surer])
    return first


def _uncertainty(encoded: HandImageEncoderOutput) -> torch.Tensor:
    """(B,) standard deviation of the keypoints, mean over the hand, in sides of the square that was looked at."""
    variance = encoded.distribution.covariance().float().diagonal(dim1=-2, dim2=-1).sum(-1)  # (B, 21)
    return variance.sqrt().mean(-1) / encoded.frame.side.float()


def _from_whole_crops(encoder: HandImageEncoder, crops: torch.Tensor) -> HandImageEncoderOutput:
    """What the encoder says of crops (n, 3, S, S) when it begins with all of each in every turn: rows turn by turn."""
    count, turns = len(crops), torch.tensor(TURNS, dtype=torch.float32, device=crops.device)
    pixels = crops.repeat(len(TURNS), 1, 1, 1)
    whole = HandFrame(
        centre=torch.full((len(pixels), 2), 0.5, device=crops.device),
        side=torch.ones(len(pixels), device=crops.device),
        angle=turns.repeat_interleave(count),
    )
    found = frame_around_keypoints(encoder.landmarks(pixels, whole))
    return encoder(pixels, frame=found)


def _with_rows(
    encoded: HandImageEncoderOutput, rows: torch.Tensor, others: HandImageEncoderOutput, of_others: torch.Tensor
) -> HandImageEncoderOutput:
    """`encoded` with `rows` taken from the rows `of_others` of `others`."""
    if len(rows) == 0:
        return encoded

    def replaced(value, other):
        if value is None:
            return None
        if isinstance(value, HandFrame):
            return HandFrame(*(replaced(getattr(value, f.name), getattr(other, f.name)) for f in fields(HandFrame)))
        return value.index_copy(0, rows, other[of_others].to(value.dtype))

    return HandImageEncoderOutput(
        **{f.name: replaced(getattr(encoded, f.name), getattr(others, f.name)) for f in fields(encoded)}
    )
