"""Whose vertices the meshes of a data set have, and those of a pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.row_reading import RowReader
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mesh_kinds import mesh_of_layer, mesh_of_truth
from hf_handdiff.hand.open_hand import mesh_of_faces
from hf_handdiff.hand.topology import MANO, OPEN_HAND, OTHER

_ROWS_LOOKED_AT = 50
_COLUMNS = ["has_hand", "joints_m", "vertices_m"]


def hand_of_pipeline(pipeline: Any) -> HandLayer | None:
    """The hand that a checkpoint's meshes are of; None if nobody gave it (an older checkpoint, with MANO's faces)."""
    try:
        return pipeline.hand_layer
    except InputError:
        return None


def mesh_of_pipeline(pipeline: Any) -> str:
    """Whose vertices the meshes of a checkpoint have, a name of `hand.topology`."""
    layer = hand_of_pipeline(pipeline)
    if layer is not None:
        return mesh_of_layer(layer)
    return OTHER if pipeline.mesh_faces is None else mesh_of_faces(pipeline.mesh_faces.numpy())


def mesh_of_data(dataset: Any, made_by: dict[str, Any], layer: HandLayer | None = None) -> str | None:
    """Whose vertices the meshes of a data set have, a name of `hand.topology`.

    The vertices of the first rows tell it. Where they have none, those of an importer's data set are MANO's by its
    word; of another, None: there are none to compare with.

    Args:
        dataset: in the corpus schema.
        made_by: how it was made, of `data.corpus.read_settings`.
        layer: the hand that predictions are of, None: not known.
    """
    if made_by.get("generator") == "hf_handdiff.synthetic":
        return OPEN_HAND
    unknown = MANO if "data_set" in made_by else None
    if not set(_COLUMNS) <= set(dataset.column_names or _COLUMNS):
        return unknown
    rows = dataset.select_columns(_COLUMNS).with_format("numpy")
    for row in RowReader(rows).rows(0, _ROWS_LOOKED_AT):
        if row["has_hand"] and np.isfinite(row["vertices_m"]).all():
            return mesh_of_truth(row["vertices_m"], row["joints_m"], layer)
    return unknown
