"""Groups of samples that results are told for apart: by how much of the hand is seen, and by skin tone."""

from __future__ import annotations

import math

from torch import Tensor

MOSTLY_HIDDEN = 0.5
"""Hands of which a smaller share is seen are mostly hidden."""

# The groups of `visible_groups`: name -> (lowest share, highest share); the bounds belong to "partly hidden".
VISIBLE_GROUPS = {
    "visible (> 0.8)": (0.8, math.inf),
    "partly hidden (0.5-0.8)": (MOSTLY_HIDDEN, 0.8),
    "mostly hidden (< 0.5)": (-math.inf, MOSTLY_HIDDEN),
}

# The groups of `skin_tone_groups`: name -> (lowest, highest tone), 0 lightest .. 1 darkest. Lower bounds belong to it.
SKIN_TONE_GROUPS = {
    "light (< 1/3)": (0.0, 1 / 3),
    "medium (1/3-2/3)": (1 / 3, 2 / 3),
    "dark (> 2/3)": (2 / 3, math.inf),
}


def visible_groups(visible_share: Tensor) -> dict[str, Tensor]:
    """Samples by how much of the hand is seen: (S,) in 0..1 -> {name: (S,) bool}. See `VISIBLE_GROUPS`."""
    partly = (visible_share >= MOSTLY_HIDDEN) & (visible_share <= 0.8)
    names = list(VISIBLE_GROUPS)
    return {names[0]: visible_share > 0.8, names[1]: partly, names[2]: visible_share < MOSTLY_HIDDEN}


def skin_tone_groups(skin_tone: Tensor) -> dict[str, Tensor]:
    """Samples by skin tone: (S,), 0 lightest .. 1 darkest -> {name: (S,) bool}. See `SKIN_TONE_GROUPS`.

    A tone that is not known (-1 or NaN) is in none of them.
    """
    return {name: (skin_tone >= low) & (skin_tone < high) for name, (low, high) in SKIN_TONE_GROUPS.items()}
