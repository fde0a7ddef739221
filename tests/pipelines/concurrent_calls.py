"""Calls of one pipeline with options of their own, one by one and by threads at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Call:
    """Options of one call."""

    seed: int
    num_hypotheses: int
    steps: int
    mesh_steps: int
    box: tuple[float, float, float, float] | str | None

    def run(self, pipeline, photo):
        """The vertices and radii that it answers with."""
        place = {} if self.box is None else {"boxes": self.box if self.box == "detect" else [self.box]}
        out = pipeline(
            photo,
            num_hypotheses=self.num_hypotheses,
            num_inference_steps=self.steps,
            num_mesh_inference_steps=self.mesh_steps,
            generator=self.seed,
            **place,
        )
        return out.vertices, out.joint_std


def various_calls(count: int, size: tuple[int, int], detect: bool) -> list[Call]:
    """Calls that differ in everything; `size`: width and height of the photo, px."""
    rng = np.random.default_rng(0)
    width, height = size
    calls = []
    for number in range(count):
        x, y = rng.uniform(0, 0.4, 2) * (width, height)
        box = (x, y, x + rng.uniform(0.3, 0.6) * width, y + rng.uniform(0.3, 0.6) * height)
        place = [box, None, "detect" if detect else box][number % 3]
        steps = rng.choice([1, 2, 3, 5, 12], 2).tolist()
        calls.append(Call(number, int(rng.integers(1, 7)), *steps, place))
    return calls


def answers_at_once(pipeline, photo, calls: list[Call], threads: int) -> list:
    """The answers, in the order of the calls."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda call: call.run(pipeline, photo), calls))


def differences_mm(alone: list, at_once: list) -> list[float]:
    """The largest difference of each pair of answers, mm; 0 where they are equal to the bit."""
    pairs = zip(alone, at_once, strict=True)
    return [1000 * max(float(np.abs(a - b).max()) for a, b in zip(x, y, strict=True)) for x, y in pairs]
