import math

import numpy as np
import pytest

from hf_handdiff.viz.charts import BLUE, ORANGE, Axis, Line, line_chart, nice_ticks


def count(picture, color):
    """Pixels of a colour, but for smoothing."""
    return int((np.abs(np.asarray(picture).astype(int) - color).sum(axis=-1) < 12).sum())


def test_ticks_are_round_numbers():
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0, 37.8) == [0, 10, 20, 30]
    assert nice_ticks(0.3, 0.9)[0] == 0.3
    assert len(nice_ticks(5, 5)) >= 1


def test_a_line_lies_where_its_values_say():
    axis = Axis("x", 0, 10)
    flat = Line("flat", [0, 10], [7.5, 7.5], BLUE)
    picture = np.asarray(line_chart("title", axis, Axis("y", 0, 10), [flat], legend="left")).astype(int)
    blue = np.abs(picture - BLUE).sum(axis=-1) < 12
    columns = blue[:, 600:]  # right of the legend
    height = np.nonzero(columns.any(axis=1))[0].mean()
    top, bottom = 56, 560 - 88
    assert height == pytest.approx(bottom - 0.75 * (bottom - top), abs=2)
    assert columns.any(axis=0).mean() > 0.8


def test_logarithmic_places():
    axis = Axis("n", 1, 100, logarithmic=True)
    np.testing.assert_allclose(axis.place(np.array([1, 10, 100])), [0, 0.5, 1])


@pytest.mark.parametrize("marker", ["", "circle", "square", "triangle"])
def test_gaps_dashes_and_marks(marker):
    values = [1.0, None, math.nan, 2.0, 3.0]
    lines = [Line("known", range(5), values, ORANGE, dashed=True, marker=marker), Line("nothing", [0], [None])]
    picture = line_chart("title", Axis("x", 0, 4), Axis("y", 0, 4), lines, note="two\nlines")
    assert picture.width == 800 and count(picture, ORANGE) > 200


def test_lines_end_at_the_frame():
    steep = Line("steep", [0, 1], [0, 100], ORANGE)
    picture = line_chart("title", Axis("x", 0, 1), Axis("y", 0, 1), [steep], legend="right")
    outside = picture.crop((0, 0, 800, 45))  # above the frame
    assert count(outside, ORANGE) == 0 and count(picture, ORANGE) > 100
