"""Pieces of the page as HTML: the table of expected errors, the colour scale, the line of facts, messages."""

from __future__ import annotations

import time
from html import escape

import numpy as np
from answering import Answer

from hf_handdiff.hand.topology import FINGERS
from hf_handdiff.viz.colors import FINGER_COLORS, UNCERTAINTY_FULL_SCALE_M, uncertainty_colors

_JOINTS_OF_FINGER = ("base", "middle", "end", "tip")


def message(text: str, kind: str = "error") -> str:
    """A box with a message; kind is "error", "warning" or "hint"."""
    if not text:
        return ""
    role = "alert" if kind == "error" else "status"
    return f'<div class="message {kind}" role="{role}">{escape(text)}</div>'


def facts(answer: Answer, seconds: float) -> str:
    """The line under the 3D view: side, score, expected error, hypotheses, time."""
    output = answer.output
    error_mm = 1000.0 * float(np.mean(output.joint_std[0]))
    items = [
        (f"{answer.placed.handedness} hand", ""),
        (f"{float(output.hand_score[0]):.2f}", "hand score"),
        (f"{error_mm:.0f} mm", "expected error of a joint"),
        (f"{output.joints.shape[1]}", "hypotheses"),
        (f"{seconds:.1f} s", "in all"),
    ]
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in items)
    # two answers may read alike: the time tells a script, such as a test, that this is another one
    return f'<div class="facts" data-answered="{time.time_ns()}">{cells}</div>'


def color_scale() -> str:
    """The scale of expected errors that colours the mesh and the table."""
    stops = ", ".join(_css(color) for color in uncertainty_colors(np.linspace(0, UNCERTAINTY_FULL_SCALE_M, 11)))
    end = f"{1000 * UNCERTAINTY_FULL_SCALE_M:.0f} mm or more"
    return (
        '<div class="scale"><span>0</span>'
        f'<i style="background: linear-gradient(90deg, {stops})"></i><span>{end}: expected error</span></div>'
    )


def error_table(answer: Answer) -> str:
    """Expected error and region of 90 % of each joint, in the colours of the scale."""
    std, region = answer.output.joint_std[0], answer.region90
    head = "".join(f"<th>{name}</th>" for name in _JOINTS_OF_FINGER)
    rows = []
    for finger, joints in FINGERS.items():
        dot = f'<i class="dot" style="background: {_css(FINGER_COLORS[finger])}"></i>'
        cells = "".join(_error_cell(std[joint], region[joint]) for joint in joints)
        rows.append(f"<tr><th>{dot}{finger}</th>{cells}</tr>")
    return (
        f'<table class="errors"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        '<p class="note">Large: expected error of the joint in mm, wrist laid on wrist, calibrated on held-out images.'
        " Small: nine times of ten the true joint lies within so many mm.</p>"
    )


def _error_cell(std_m: float, region_m: float) -> str:
    color = uncertainty_colors(np.array(std_m))
    ink = "#10131a" if color @ (0.299, 0.587, 0.114) > 125 else "#ffffff"
    return (
        f'<td style="background: {_css(color)}; color: {ink}"><b>{1000 * std_m:.0f}</b>'
        f"<small>{1000 * region_m:.0f}</small></td>"
    )


def _css(color) -> str:
    red, green, blue = (int(value) for value in color)
    return f"rgb({red}, {green}, {blue})"
