"""A second look at crops in which the encoder is unsure of the hand: from other squares than the first.

The framing pass says where in a crop the hand is and how it is turned. Where it is wrong (on another hand, an arm, a
thing that is held) the landmark pass rarely finds the way back, but the encoder tells: the distribution of its
keypoints is wide, or it takes the hand for one of the other side. Such crops are looked at again, as wholes in four
turns and in five parts, and the look of least doubt is kept. Thresholds chosen on renders and photos (EXPERIMENTS.md).
"""

import math
from dataclasses import fields

import torch

from hf_handdiff.models.hand_framing import HandFrame, frame_around_keypoints
from hf_handdiff.models.image_encoder import HandImageEncoder, HandImageEncoderOutput

TURNS = (0.0, math.pi / 2, math.pi, -math.pi / 2)
"""Of the whole crop, rad."""
PART_CENTRES = ((0.5, 0.5), (0.32, 0.32), (0.68, 0.32), (0.32, 0.68), (0.68, 0.68))
PART_SIDE = 0.64
"""Of the upright parts: centres (x, y) and side, crop units."""
WIDE = 0.1
"""Standard deviation of a keypoint, in sides of the square, mean over the hand, above which a look is in doubt."""
SIDE_SHARE = 0.15
"""Of the log odds of the hand's side in `_doubt`."""
LARGEST_SIDE_LOGIT = 4.0
"""The most of them that count."""
LESS_DOUBT = 1.0
"""By how much the doubt of another look has to be less: 1 is a width of 37 %."""
_CROPS_AT_ONCE = 4


def look_again(encoder: HandImageEncoder, crops: torch.Tensor, first: HandImageEncoderOutput) -> HandImageEncoderOutput:
    """The first look, with the rows that were in doubt replaced where another square leaves less doubt.

    Args:
        encoder: with a distribution of its keypoints; without one nothing is in doubt.
        crops: (B, 3, S, S) RGB in 0..1.
        first: what the encoder said of them.
    """
    if first.distribution is None:
        return first
    doubt = _doubt(first)
    rows = torch.nonzero(_in_doubt(first))[:, 0]
    for part in (rows[start : start + _CROPS_AT_ONCE] for start in range(0, len(rows), _CROPS_AT_ONCE)):
        frames = _other_frames(encoder, crops[part])
        num_looks = len(frames.side) // len(part)
        others = encoder(crops[part].repeat(num_looks, 1, 1, 1), frame=frames)
        least, look = _doubt(others).unflatten(0, (num_looks, -1)).min(0)
        better = least < doubt[part] - LESS_DOUBT
        number = torch.arange(len(part), device=look.device)
        first = _with_rows(first, part[better], others, (look * len(part) + number)[better])
    return first


def _width(encoded: HandImageEncoderOutput) -> torch.Tensor:
    """(B,) standard deviation of the keypoints, mean over the hand, in sides of the square that was looked at."""
    variance = encoded.distribution.covariance().float().diagonal(dim1=-2, dim2=-1).sum(-1)  # (B, 21)
    return variance.sqrt().mean(-1) / encoded.frame.side.float()


def _in_doubt(encoded: HandImageEncoderOutput) -> torch.Tensor:
    """(B,) whether to look again."""
    wide = _width(encoded) > WIDE
    return wide if encoded.side_logit is None else wide | (encoded.side_logit < 0)


def _doubt(encoded: HandImageEncoderOutput) -> torch.Tensor:
    """(B,) logarithm of the width, less what speaks for a hand of the side that was asked for."""
    doubt = _width(encoded).log()
    if encoded.side_logit is not None:
        doubt = doubt - SIDE_SHARE * encoded.side_logit.float().clamp(-LARGEST_SIDE_LOGIT, LARGEST_SIDE_LOGIT)
    return doubt


def _other_frames(encoder: HandImageEncoder, crops: torch.Tensor) -> HandFrame:
    """Squares of crops (n, 3, S, S) in which the hands may be: rows look by look, n of each."""
    count, turns, centres = len(crops), *(torch.tensor(x, device=crops.device) for x in (TURNS, PART_CENTRES))
    wholes = HandFrame(
        centre=centres.new_full((len(turns) * count, 2), 0.5),
        side=centres.new_ones(len(turns) * count),
        angle=turns.repeat_interleave(count),
    )
    parts = HandFrame(
        centre=centres.repeat_interleave(count, 0),
        side=centres.new_full((len(centres) * count,), PART_SIDE),
        angle=centres.new_zeros(len(centres) * count),
    )
    in_wholes = frame_around_keypoints(encoder.landmarks(crops.repeat(len(turns), 1, 1, 1), wholes))
    in_parts = encoder.find_frame(parts.crop(crops.repeat(len(centres), 1, 1, 1))).within(parts)
    both = (in_wholes, in_parts)
    return HandFrame(**{f.name: torch.cat([getattr(frame, f.name) for frame in both]) for f in fields(HandFrame)})


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
