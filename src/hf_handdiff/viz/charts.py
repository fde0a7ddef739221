"""Line charts with Pillow alone: few lines, readable at 800 pixels, told apart without colour too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from hf_handdiff.viz.plots import label_font

# After Okabe and Ito: apart for colour-prior readers.
BLUE, ORANGE, GREEN, GREY = (0, 114, 178), (213, 94, 0), (0, 158, 115), (120, 124, 130)
_INK, _FAINT, _GRID, _PAPER = (30, 32, 36), (95, 99, 105), (226, 229, 233), (255, 255, 255)
_SIZE_PX = (800, 560)
_SMOOTH = 3  # drawn so many times larger: Pillow's lines are not anti-aliased
_TITLE_PX, _LABEL_PX, _TICK_PX, _NOTE_PX = 22, 17, 16, 15


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: of the legend.
        x: K positions.
        y: K values; None and NaN are left out.
        color: RGB 0..255.
        dashed: a broken line.
        marker: "circle", "square" or "triangle" at the points, or "" for none.
        mark_every: a mark at each so many of the points.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    color: tuple[int, int, int] = BLUE
    dashed: bool = False
    marker: str = ""
    mark_every: int = 1

    def points(self) -> np.ndarray:
        """(K', 2) float64, those that are known."""
        pairs = [(x, y) for x, y in zip(self.x, self.y, strict=True) if y is not None and math.isfinite(y)]
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: what it shows, with its unit.
        low, high: its ends.
        ticks: where numbers stand; None chooses them.
        tick_labels: what stands there instead of the numbers.
        logarithmic: equal steps are equal ratios; low must be above 0.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float] | None = None
    tick_labels: Sequence[str] | None = None
    logarithmic: bool = False

    def place(self, values: np.ndarray) -> np.ndarray:
        """Values -> 0 at `low`, 1 at `high`."""
        low, high = self.low, self.high
        if self.logarithmic:
            values, low, high = np.log(values), math.log(low), math.log(high)
        return (np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12)

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """(value, text) of each tick."""
        ticks = nice_ticks(self.low, self.high) if self.ticks is None else list(self.ticks)
        texts = [f"{tick:g}" for tick in ticks] if self.tick_labels is None else list(self.tick_labels)
        return list(zip(ticks, texts, strict=True))


def nice_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) within low..high, some `about` of them."""
    step = max(high - low, 1e-12) / about
    size = 10.0 ** math.floor(math.log10(step))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= step * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def line_chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], note: str = "", legend: str = "right"
) -> Image.Image:
    """Draw lines over two axes.

    Args:
        title: above the chart.
        x, y: the axes; points beyond their ends are cut off.
        lines: later ones lie on top; the legend keeps their order.
        note: one or more lines of small text below the chart.
        legend: the upper corner of its box, "left" or "right".

    Returns:
        An 800 pixel wide RGB picture.
    """
    canvas = _Canvas(x, y, note)
    canvas.draw_frame(title, note)
    for line in lines:
        canvas.draw_line(line)
    canvas.draw_legend(lines, legend)
    return canvas.finish()


class _Canvas:
    """A chart while it is drawn, `_SMOOTH` times larger than it will be."""

    def __init__(self, x: Axis, y: Axis, note: str):
        self.x, self.y = x, y
        note_height = 0 if not note else 10 + (note.count("\n") + 1) * (_NOTE_PX + 5)
        width, height = _SIZE_PX[0] * _SMOOTH, (_SIZE_PX[1] + note_height) * _SMOOTH
        self.image = Image.new("RGB", (width, height), _PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.left, self.top = 84 * _SMOOTH, 56 * _SMOOTH
        self.right, self.bottom = width - 28 * _SMOOTH, (_SIZE_PX[1] - 88) * _SMOOTH

    def text(self, place: tuple[float, float], text: str, size: int, color=_INK, anchor: str = "la") -> None:
        self.draw.text(place, text, fill=color, font=label_font(size * _SMOOTH), anchor=anchor)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(K, 2) values -> (K, 2) px."""
        across = self.left + self.x.place(points[:, 0]) * (self.right - self.left)
        up = self.bottom - self.y.place(points[:, 1]) * (self.bottom - self.top)
        return np.stack([across, up], axis=1)

    def draw_frame(self, title: str, note: str) -> None:
        """Title, grid, numbers, names of the axes and the note."""
        self.text((self.left, 14 * _SMOOTH), title, _TITLE_PX)
        for tick, text in self.x.labelled_ticks():
            across = self.pixels(np.array([[tick, self.y.low]]))[0, 0]
            self.draw.line((across, self.top, across, self.bottom), _GRID, _SMOOTH)
            self.draw.multiline_text(
                (across, self.bottom + 8 * _SMOOTH),
                text,
                fill=_FAINT,
                font=label_font(_TICK_PX * _SMOOTH),
                anchor="ma",
                align="center",
            )
        for tick, text in self.y.labelled_ticks():
            up = self.pixels(np.array([[self.x.low, tick]]))[0, 1]
            self.draw.line((self.left, up, self.right, up), _GRID, _SMOOTH)
            self.text((self.left - 10 * _SMOOTH, up), text, _TICK_PX, _FAINT, "rm")
        self.draw.line((self.left, self.top, self.left, self.bottom, self.right, self.bottom), _INK, 2 * _SMOOTH)
        middle = (self.left + self.right) / 2, (_SIZE_PX[1] - 30) * _SMOOTH
        self.text(middle, self.x.label, _LABEL_PX, anchor="ma")
        self._upright_text(self.y.label)
        for number, text in enumerate(note.splitlines()):
            self.text((self.left, (_SIZE_PX[1] + 2 + number * (_NOTE_PX + 5)) * _SMOOTH), text, _NOTE_PX, _FAINT)

    def _upright_text(self, text: str) -> None:
        """The name of the y axis, along it."""
        font = label_font(_LABEL_PX * _SMOOTH)
        width, height = int(font.getlength(text)) + 4, int(_LABEL_PX * _SMOOTH * 1.4)
        strip = Image.new("RGB", (width, height), _PAPER)
        ImageDraw.Draw(strip).text((2, 0), text, fill=_INK, font=font)
        turned = strip.rotate(90, expand=True)
        self.image.paste(turned, (8 * _SMOOTH, (self.top + self.bottom - turned.height) // 2))

    def draw_line(self, line: Line) -> None:
        """One line, cut at the frame."""
        points = line.points()
        if len(points) == 0:
            return
        layer = self.image.copy()
        draw, pixels = ImageDraw.Draw(layer), self.pixels(points)
        _stroke(draw, pixels, line)
        # Half a mark may stand out of the frame, a line may not.
        margin = 7 * _SMOOTH
        box = tuple(map(int, (self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)))
        self.image.paste(layer.crop(box), box[:2])

    def draw_legend(self, lines: Sequence[Line], side: str) -> None:
        """Names of the lines, in a box in an upper corner."""
        font, row = label_font(_TICK_PX * _SMOOTH), 25 * _SMOOTH
        sample, gap = 44 * _SMOOTH, 10 * _SMOOTH
        width = sample + 3 * gap + max(font.getlength(line.name) for line in lines)
        left = self.left + 14 * _SMOOTH if side == "left" else self.right - width - 8 * _SMOOTH
        top = self.top + 8 * _SMOOTH
        self.draw.rectangle((left, top, left + width, top + row * len(lines) + gap), _PAPER, _GRID, _SMOOTH)
        for number, line in enumerate(lines):
            middle = top + gap / 2 + row * (number + 0.5)
            ends = np.array([[left + gap, middle], [left + gap + sample, middle]])
            _stroke(self.draw, ends, line, one_mark=True)
            self.text((left + 2 * gap + sample, middle), line.name, _TICK_PX, anchor="lm")

    def finish(self) -> Image.Image:
        """The picture at its own size."""
        size = (self.image.width // _SMOOTH, self.image.height // _SMOOTH)
        return self.image.resize(size, Image.Resampling.LANCZOS)


def _stroke(draw: ImageDraw.ImageDraw, pixels: np.ndarray, line: Line, one_mark: bool = False) -> None:
    """A line and its marks through (K, 2) px; `one_mark` puts a single mark in the middle."""
    width = 3 * _SMOOTH
    if line.dashed:
        for start, stop in _dashes(pixels, 10 * _SMOOTH, 7 * _SMOOTH):
            draw.line((*start, *stop), line.color, width)
    elif len(pixels) > 1:
        draw.line([tuple(point) for point in pixels], line.color, width, joint="curve")
    marked = pixels.mean(axis=0, keepdims=True) if one_mark else pixels[:: line.mark_every]
    for across, up in marked if line.marker else ():
        _mark(draw, across, up, 5 * _SMOOTH, line)


def _mark(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, line: Line) -> None:
    box = (x - radius, y - radius, x + radius, y + radius)
    if line.marker == "square":
        draw.rectangle(box, line.color)
    elif line.marker == "triangle":
        half = 1.2 * radius
        draw.polygon([(x, y - half), (x - half, y + radius), (x + half, y + radius)], line.color)
    else:
        draw.ellipse(box, line.color)


def _dashes(pixels: np.ndarray, dash: float, gap: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pieces of a broken line along (K, 2) px."""
    steps = np.linalg.norm(np.diff(pixels, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])

    def at(length: float) -> np.ndarray:
        return np.array([np.interp(length, along, pixels[:, axis]) for axis in range(2)])

    pieces = []
    for start in np.arange(0, along[-1], dash + gap):
        # A dash that turns a corner keeps the corner.
        stop = min(start + dash, along[-1])
        corners = [start, *along[(along > start) & (along < stop)], stop]
        pieces += [(at(first), at(second)) for first, second in zip(corners[:-1], corners[1:], strict=True)]
    return pieces
