"""Light that makes hands hard to see: one hard lamp, light from behind, coloured lamps."""

import numpy as np

from hf_handdiff.synthetic.environment import NUM_LIGHTS, Lighting

DOWN = [0.0, 1.0, 0.0]


def hard_lighting(rng: np.random.Generator) -> Lighting:
    """One strong light from the camera's half of the world or from the side, and little else."""
    directions = _directions(rng)
    directions[0, 2] = min(directions[0, 2], 0.25)
    directions[0] /= np.linalg.norm(directions[0])
    strength = np.concatenate([[rng.uniform(1.5, 3.0)], rng.uniform(0.0, 0.08, NUM_LIGHTS - 1)])
    warmth = 1.0 + rng.normal(0.0, 0.12, 3)
    return Lighting(directions, strength[:, None] * warmth, _ambient(rng, 0.03, 0.16, 0.1))


def back_lighting(rng: np.random.Generator) -> Lighting:
    """The strongest light behind the hand, which the camera sees by what little comes from its own side."""
    directions = _directions(rng)
    directions[0, 2] = abs(directions[0, 2]) + rng.uniform(0.3, 1.5)
    directions[0] /= np.linalg.norm(directions[0])
    strength = np.concatenate([[rng.uniform(2.0, 6.0)], rng.uniform(0.0, 0.3, NUM_LIGHTS - 1)])
    warmth = 1.0 + rng.normal(0.0, 0.1, (NUM_LIGHTS, 3))
    return Lighting(directions, strength[:, None] * warmth, _ambient(rng, 0.15, 0.5, 0.1))


def coloured_lighting(rng: np.random.Generator) -> Lighting:
    """Lamps of saturated colours, as of screens, signs and street lights."""
    directions = _directions(rng)
    directions[0, 2] = -abs(directions[0, 2])
    strength = np.concatenate([rng.uniform(0.5, 2.0, 2), rng.uniform(0.0, 0.4, NUM_LIGHTS - 2)])
    colors = rng.uniform(0.05, 1.0, (NUM_LIGHTS, 3)) ** rng.uniform(0.6, 1.6)
    colors /= colors.mean(1, keepdims=True)
    share = rng.uniform(0.45, 0.95)
    colors = 1.0 - share + share * colors
    return Lighting(directions, strength[:, None] * colors, _ambient(rng, 0.08, 0.35, 0.1) * _tint(colors[0]))


def _tint(color: np.ndarray) -> np.ndarray:
    """Factors (3, 3) by which ambient light from below and above takes half of a colour; the direction keeps its."""
    return np.stack([0.5 + 0.5 * color, 0.5 + 0.5 * color, np.ones(3)])


def _directions(rng: np.random.Generator) -> np.ndarray:
    directions = rng.normal(size=(NUM_LIGHTS, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _ambient(rng: np.random.Generator, low: float, high: float, tint: float) -> np.ndarray:
    sides = rng.uniform(low, high, (2, 1)) * (1.0 + rng.normal(0.0, tint, (2, 3)))
    return np.concatenate([sides, [DOWN]])
