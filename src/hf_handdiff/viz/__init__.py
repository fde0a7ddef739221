"""Pictures and 3D files of the answers, drawn with numpy and Pillow: no GL, no matplotlib."""

from hf_handdiff.viz.glb import write_glb
from hf_handdiff.viz.overlay import (
    PANEL_NAMES,
    draw_overlay,
    draw_panels,
    draw_prediction,
    panel_window,
)
from hf_handdiff.viz.placement import PlacedHand, place_prediction
from hf_handdiff.viz.plots import contact_sheet
from hf_handdiff.viz.rig import rig_of_output

__all__ = [
    "PANEL_NAMES",
    "PlacedHand",
    "contact_sheet",
    "draw_overlay",
    "draw_panels",
    "draw_prediction",
    "panel_window",
    "place_prediction",
    "rig_of_output",
    "write_glb",
]
