"""The detectors' own part: windows, sizes, sides, duplicates. MediaPipe itself is stood in for."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hf_handdiff.errors import InputError
from hf_handdiff.models.hand_search import _pictures_to_search
from hf_handdiff.models.mediapipe_hands import MediaPipeHandDetector, _windows


class FakeHands:
    """Finds one hand wherever its marker colour is, in MediaPipe's form; says "Right" of a left hand."""

    def __init__(self, **options):
        self.calls, self.busy = 0, False

    def process(self, window):
        self.calls += 1
        assert not self.busy, "two pictures at once"
        self.busy = True
        time.sleep(0.001)  # so that other threads run
        self.busy = False
        assert window.shape[0] == window.shape[1]
        rows, columns = np.nonzero((window == (255, 0, 0)).all(axis=-1))
        if len(rows) == 0:
            return SimpleNamespace(multi_hand_landmarks=None, multi_handedness=None)
        xs = np.linspace(columns.min(), columns.max() + 1, 21) / len(window)
        ys = np.linspace(rows.min(), rows.max() + 1, 21) / len(window)
        points = [SimpleNamespace(x=x, y=y) for x, y in zip(xs, ys, strict=True)]
        side = SimpleNamespace(label="Right", score=0.9)
        return SimpleNamespace(
            multi_hand_landmarks=[SimpleNamespace(landmark=points)],
            multi_handedness=[SimpleNamespace(classification=[side])],
        )

    def close(self):
        pass


@pytest.fixture
def detector(monkeypatch):
    module = ModuleType("mediapipe.python.solutions.hands")
    module.Hands = FakeHands
    for name in ("mediapipe", "mediapipe.python", "mediapipe.python.solutions"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return MediaPipeHandDetector()


@pytest.mark.parametrize("place", [(20, 30, 60, 80), (150, 40, 190, 90), (90, 60, 130, 100), (0, 0, 30, 40)])
def test_a_hand_is_found_once_in_photo_pixels(detector, place):
    photo = np.zeros((120, 200, 3), np.uint8)
    x0, y0, x1, y1 = place
    photo[y0:y1, x0:x1] = (255, 0, 0)
    hands = detector.detect(photo)
    assert len(hands) == 1
    np.testing.assert_allclose(hands[0].box, place, atol=1e-6)
    assert hands[0].handedness == "left" and hands[0].keypoints.shape == (21, 2)


def test_several_threads_may_share_a_detector(detector):
    """MediaPipe's graph takes one picture at a time."""
    photo = np.zeros((120, 200, 3), np.uint8)
    photo[30:80, 20:60] = (255, 0, 0)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(detector.detect, [photo] * 8))
    assert [len(hands) for hands in found] == [1] * 8


def test_no_hand(detector):
    assert detector.detect(np.zeros((50, 40, 3), np.uint8)) == []


@pytest.mark.parametrize("size", [(512, 384), (384, 683), (100, 100), (5, 300), (1, 1)])
def test_windows_cover_the_photo(size):
    height, width = size
    covered = np.zeros(size, bool)
    for left, top, right, bottom in _windows(height, width):
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all()


@pytest.mark.parametrize(
    ("shape", "longer_sides"),
    [
        ((512, 384), [384, 128]),
        ((3000, 4000), [384, 128]),
        ((300, 200), [300, 128]),  # not enlarged
        ((224, 224), [192, 128]),  # small: at the size that the network was trained on
        ((40, 30), [192, 128]),
        ((1, 600), [384, 128]),
    ],
)
def test_the_sizes_at_which_a_photo_is_searched(shape, longer_sides):
    photo = np.full((*shape, 3), 255, np.uint8)
    pictures = list(_pictures_to_search(photo, (128, 384), 192))
    assert [
        round(max(p.shares[0] * p.pixels.shape[2], p.shares[1] * p.pixels.shape[1])) for p in pictures
    ] == longer_sides
    for picture in pictures:
        channels, height, width = picture.pixels.shape
        assert channels == 3 and height % 32 == 0 and width % 32 == 0
        covered = np.zeros((height, width), bool)
        covered[: round(picture.shares[1] * height), : round(picture.shares[0] * width)] = True
        np.testing.assert_allclose(picture.pixels, np.broadcast_to(covered, picture.pixels.shape), atol=1e-6)


def test_missing_mediapipe_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.delitem(sys.modules, "mediapipe.python.solutions.hands", raising=False)
    with pytest.raises(InputError, match="pip install"):
        MediaPipeHandDetector()
