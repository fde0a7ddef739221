"""Where two hands run into each other: the likeliest pair of candidates, and of depths, that does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hf_handdiff.scene.candidates import Candidate
from hf_handdiff.scene.penetration import boxes_meet, penetration_depth

TOLERANCE_M = 0.0035
"""How deep hands may go into each other: flesh yields."""
RELATIVE_DEPTH_STD = 0.08
"""What one photo knows least: by what share of its distance one hand is nearer than the other."""
LOG_RATIOS = 0.01 * np.arange(-20, 21)
MOST_TESTS, MOST_HYPOTHESES = 600, 4  # of a pair, and of each hand: the likeliest


@dataclass(frozen=True)
class Choices:
    """What two hands may be.

    Attributes:
        first, second: the candidates of each, the hand as it is at first.
        ratio_costs: further costs of `LOG_RATIOS`, which multiply the second's distance over the first's.
    """

    first: Sequence[Candidate]
    second: Sequence[Candidate]
    ratio_costs: np.ndarray | float = 0.0


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

    The cost of a pair is the sum of its candidates', of the square of the logarithm of the ratio of depths over
    `RELATIVE_DEPTH_STD`, and of the cost of that ratio in the choices. Pairs are tested by rising cost, `MOST_TESTS` at
    the most, of the `MOST_HYPOTHESES` likeliest hypotheses of each hand. If none passes, the least deep of the tested
    ones is taken.

    Args:
        first, second: the hands as they are.
        choices: what the hands may be, asked for only where they go too deep. A hand with one choice is not moved.
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
    asked = choices()
    firsts, seconds = asked.first, asked.second
    movable = len(firsts) > 1, len(seconds) > 1
    if not any(movable):
        return kept
    firsts, seconds = ([hands[0], *sorted(hands[1:], key=_cost)[:MOST_HYPOTHESES]] for hands in (firsts, seconds))
    asked = replace(asked, first=firsts, second=seconds)
    shares = {(True, True): (-0.5, 0.5), (True, False): (-1.0, 0.0), (False, True): (0.0, 1.0)}[movable]
    least, best = before, kept
    search = _Search(asked)
    for i, j, log_ratio in search:
        one, other = firsts[i], seconds[j]
        ratios = [float(np.exp(share * log_ratio)) for share in shares]
        skins = [hand.moved_skin(ratio, keep_size) for hand, ratio in zip((one, other), ratios, strict=True)]
        depth = penetration_depth(*skins, enough=TOLERANCE_M)
        if depth < least:
            moved = [hand.moved(ratio, keep_size) for hand, ratio in zip((one, other), ratios, strict=True)]
            least, best = depth, ChosenPair(*moved, before, depth, _depth_ratio(moved) / _depth_ratio((first, second)))
        if depth <= TOLERANCE_M:
            break
        search.leave_out(i, j, log_ratio, depth)
    depth = penetration_depth(best.first.skin, best.second.skin)
    return ChosenPair(best.first, best.second, before, depth, best.ratio) if depth < before else kept


def _cost(hand: Candidate) -> float:
    return hand.cost


def _depth_ratio(hands: Sequence[Candidate]) -> float:
    return float(hands[1].joints[:, 2].mean() / hands[0].joints[:, 2].mean())


class _Search:
    """Pairs of candidates and logarithms of their ratios of depths, by rising cost, `MOST_TESTS` of them at the most.

    Args:
        choices: the candidates.
    """

    def __init__(self, choices: Choices):
        first, second = choices.first, choices.second
        costs = np.array([hand.cost for hand in first])[:, None] + np.array([hand.cost for hand in second])
        # hypotheses have depths of their own: what counts is the ratio of those that the hands end up at
        depths, other_depths = (np.log([hand.joints[:, 2].mean() for hand in hands]) for hands in (first, second))
        changes = (other_depths - other_depths[0]) - (depths - depths[0])[:, None]
        changes = changes[..., None] + LOG_RATIOS
        of_order = np.interp(changes, LOG_RATIOS, np.broadcast_to(choices.ratio_costs, LOG_RATIOS.shape))
        self._costs = costs[..., None] + (changes / RELATIVE_DEPTH_STD) ** 2 + of_order
        self._left_out = np.zeros(self._costs.shape, dtype=bool)
        corners = np.abs([bound for hand in (first[0], second[0]) for bound in hand.skin.bounds])
        self._distance = 1.2 * float(np.linalg.norm(corners.max(axis=0)))  # of all points from the camera, at the most

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        tested = 0
        for number in np.argsort(self._costs, axis=None, kind="stable"):
            i, j, k = np.unravel_index(number, self._costs.shape)
            if self._left_out[i, j, k]:
                continue
            yield int(i), int(j), float(LOG_RATIOS[k])
            tested += 1
            if tested == MOST_TESTS:
                return

    def leave_out(self, i: int, j: int, log_ratio: float, depth: float) -> None:
        """Leave out the ratios at which a pair that was `depth` m deep at `log_ratio` must still be too deep.

        Hands that are moved by so much against each other come out of each other by that much at the most.
        """
        moved = np.abs(LOG_RATIOS - log_ratio) * self._distance
        self._left_out[i, j] |= moved < depth - TOLERANCE_M
