"""Overlap of boxes: numpy and torch, one with one and one with many."""

import numpy as np
import pytest
import torch

from hf_handdiff.models.boxes import box_area, intersection_over_smaller, intersection_over_union

BOX = np.array([0.0, 0, 4, 2])
OTHERS = torch.tensor([[0.0, 0, 4, 2], [2.0, 0, 6, 2], [1.0, 0, 3, 1], [10.0, 10, 14, 12], [4.0, 0, 4, 2]])


def test_one_box_with_many():
    torch.testing.assert_close(intersection_over_union(OTHERS[0], OTHERS), torch.tensor([1, 1 / 3, 1 / 4, 0, 0]))
    torch.testing.assert_close(intersection_over_smaller(OTHERS[0], OTHERS), torch.tensor([1, 1 / 2, 1, 0, 0]))


def test_numpy_boxes_keep_their_precision():
    assert intersection_over_union(BOX, BOX + 1e-9).dtype == torch.float64
    assert float(intersection_over_union(BOX, np.array([2.0, 0, 6, 2]))) == pytest.approx(1 / 3, abs=1e-12)


def test_a_box_turned_inside_out_has_no_area():
    turned = torch.tensor([4.0, 2, 0, 0])
    assert box_area(turned) == 0 and intersection_over_union(turned, turned) == 0
