"""Where two hands run into each other: the likeliest pair of candidates, and of depths, that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hf_handdiff.scene.candidates import Candidate
from hf_handdiff.scene.penetration import boxes_meet, penetration_depth

TOLERANCE_M = 0.0035
"""How deep hands may go into each other: flesh yields."""
RELATIVE_DEPTH_STD = 0.03
"""What one photo knows least: by what share of its distance one hand is nearer than the other."""
_STEP, _STEPS = 0.01, 12  # of the logarithm of the ratio of depths: up to 12 per cent either way
MOST_TESTS = 400

Choices = tuple[Sequence[Candidate], Sequence[Candidate]]


@dataclass(frozen=True)
class ChosenPair:
    """Two hands that were chosen together.

    Attributes:
        first, second: the candidates, where they stand now.
        penetration_before: m, of the answers as they were given.
        penetration: m, of the two.
        ratio: by what the second's distance over the first's was multiplied.
    """

    first: Candidate
    second: Candidate
    penetration_before: float
    penetration: float
    ratio: float = 1.0


def choose_pair(
    first: Candidate, second: Candidate, choices: Callable[[], Choices], keep_size: bool = False
) -> ChosenPair | None:
    """The likeliest pair that goes no deeper into each other than `TOLERANCE_M`.

    The cost of a pair is the sum of its candidates' and of the square of the logarithm of the ratio of depths over
    `RELATIVE_DEPTH_STD`. Pairs are tested by rising cost, `MOST_TESTS` at the most. If none passes, the least deep of
    the tested ones is taken.

    Args:
        first, second: the hands as they are.
        choices: what each hand may be, asked for only where they go too deep. A hand with one choice is not moved.
        keep_size: see `Candidate.moved`.

    Returns:
        The pair; the hands as they are, where they do not go too deep. None: the boxes round them do not meet.
    """
    if not boxes_meet(first.skin, second.skin):
        return None
    before = penetration_depth(first.skin, second.skin)
    kept = ChosenPair(first, second, before, before)
    if before <= TOLERANCE_M:
        return kept
    firsts, seconds = choices()
    movable = len(firsts) > 1, len(seconds) > 1
    if not any(movable):
        return kept
    shares = {(True, True): (-0.5, 0.5), (True, False): (-1.0, 0.0), (False, True): (0.0, 1.0)}[movable]
    least, best = before, kept
    for one, other, log_ratio in _by_cost(firsts, seconds):
        ratios = [float(np.exp(share * log_ratio)) for share in shares]
        skins = [hand.moved_skin(ratio, keep_size) for hand, ratio in zip((one, other), ratios, strict=True)]
        depth = penetration_depth(*skins, enough=TOLERANCE_M)
        if depth < least:
            moved = [hand.moved(ratio, keep_size) for hand, ratio in zip((one, other), ratios, strict=True)]
            least, best = depth, ChosenPair(*moved, before, depth, ratios[1] / ratios[0])
        if depth <= TOLERANCE_M:
            break
    depth = penetration_depth(best.first.skin, best.second.skin)
    return ChosenPair(best.first, best.second, before, depth, best.ratio) if depth < before else kept


def _by_cost(first: Sequence[Candidate], second: Sequence[Candidate]) -> Iterator[tuple[Candidate, Candidate, float]]:
    """Pairs and logarithms of their ratios of depths, by rising cost."""
    shifts = _STEP * np.arange(-_STEPS, _STEPS + 1)
    costs = np.array([hand.cost for hand in first])[:, None] + np.array([hand.cost for hand in second])
    costs = costs[..., None] + (shifts / RELATIVE_DEPTH_STD) ** 2
    for number in np.argsort(costs, axis=None, kind="stable")[:MOST_TESTS]:
        i, j, k = np.unravel_index(number, costs.shape)
        yield first[i], second[j], float(shifts[k])
