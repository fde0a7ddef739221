"""Tables of figures, as Markdown that can also be read as it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Table:
    """A titled table of strings; `note` stands below it."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def markdown(self) -> str:
        """The table in Markdown, its columns padded so that it can be read as it is."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]

        def row(cells: list[str]) -> str:
            padded = [
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            return "| " + " | ".join(padded) + " |"

        rules = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
        body = [row(self.header), "|" + "|".join(rules) + "|", *map(row, self.rows)]
        text = f"## {self.title}\n\n" + "\n".join(body)
        return f"{text}\n\n{self.note}" if self.note else text


def as_text(value: float | None, digits: int = 2) -> str:
    """A figure for a table; one that cannot be told is "-"."""
    return "-" if value is None else f"{value:.{digits}f}"


def as_number(value: Any) -> float | None:
    """A plain finite float, or None."""
    value = float(value)
    return value if math.isfinite(value) else None
