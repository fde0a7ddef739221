"""Whether hands are of the side that was told.

Two networks tell: the image encoder's side head, if it was trained, and the hand network of the detector, which know
different hands: together they tell more than either. Where they are not sure, they look at the mirror image too: what
the two views say apart is worth more than one view. Weights and limits were chosen on unseen renders (EXPERIMENTS.md).
"""

import torch

from hf_handdiff.models.hand_detector import HandDetector
from hf_handdiff.models.image_encoder import HandImageEncoder, HandImageEncoderOutput

LOW_SIDE_SCORE = 0.1
"""Below it the hand is taken to be of the other side."""
_ENCODER_SHARE = 0.75
_SURE = 3.0
"""Log odds above which the mirror image is not looked at."""
_SCALE = 2.93
"""Of the views' difference in log odds: -0.75 is a score of `LOW_SIDE_SCORE`."""
_SIDE_VIEW = 192
"""Side in px of the square that the detector's network sees: as good as the 224 that it was trained at, and quicker."""
_LEAST_SCORE = 1e-6
_CROPS_AT_ONCE = 8


def side_score(
    image_encoder: HandImageEncoder,
    encoded: HandImageEncoderOutput | None,
    pixels: torch.Tensor | None,
    hand_detector: HandDetector | None,
    count: int,
) -> torch.Tensor:
    """How sure the networks are that hands are of the side that was told.

    Args:
        image_encoder: the encoder; without a side head the detector's word counts alone, as it is.
        encoded: its answer, or None.
        pixels: (B, 3, S, S) the crops that it saw, of right hands or mirrored left ones.
        hand_detector: of the checkpoint, or None.
        count: B.

    Returns:
        (B,) 0..1; NaN where nothing can tell.
    """
    own = None if encoded is None else _log_odds(encoded, pixels, hand_detector)
    if own is None:
        return torch.full((count,), torch.nan)
    if encoded.side_logit is None:
        return own.sigmoid()
    apart = 2 * own  # as if the mirror image were told to be the other hand as surely
    rows = torch.nonzero(own < _SURE)[:, 0]
    for part in (rows[start : start + _CROPS_AT_ONCE] for start in range(0, len(rows), _CROPS_AT_ONCE)):
        mirrored = pixels[part.to(pixels.device)].flip(-1)
        apart[part] = own[part] - _log_odds(image_encoder(mirrored), mirrored, hand_detector)
    return (_SCALE * apart).sigmoid()


def _log_odds(
    encoded: HandImageEncoderOutput, pixels: torch.Tensor, hand_detector: HandDetector | None
) -> torch.Tensor | None:
    """(B,) float32, CPU, of what is seen being right hands; None where nothing can tell."""
    own = None if encoded.side_logit is None else encoded.side_logit.float().cpu()
    if hand_detector is None:
        return own
    score = hand_detector.hands(encoded.frame.crop(pixels, _SIDE_VIEW)).right_score.float().cpu()
    other = torch.logit(score.clamp(_LEAST_SCORE, 1 - _LEAST_SCORE))
    return other if own is None else _ENCODER_SHARE * own + (1 - _ENCODER_SHARE) * other
