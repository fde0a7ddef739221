"""FreiHAND's and HO3D's official answers and scores.

An answer is a file `pred.json` = [xyz_list, verts_list]: for each image, in the order of the files, 21 joints and 778
vertices in metres, absolute in the camera frame, in the data set's own axes and joint order; `pred.zip` holds it flat.

Where the hand stands. Our answers are wrist-relative. HO3D gives the root joint of every frame, its evaluation split
included: it is added. FreiHAND does not give it: there the pipeline's own `translation` is added (the mean over the
hypotheses), also where the truth is known, so that the file is what anyone could hand in. Alignment by Procrustes does
not see the difference; the raw errors do.

The scores follow eval.py of github.com/lmb-freiburg/freihand and github.com/shreyashampali/ho3d, but for one thing:
these take every mesh of 778 vertices for MANO's. A mesh with other vertices, such as the open hand's, is aligned by the
joints here and has F-scores, but no vertex errors.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation import metrics
from hf_handdiff.evaluation.batches import HandBatch, Prediction
from hf_handdiff.files import replace_file
from hf_handdiff.hand.topology import JOINTS_TO_MANO, NUM_JOINTS

F_SCORE_THRESHOLDS_M = (0.005, 0.015)
_DECIMALS = 7  # a tenth of a micrometre
_SLICE = 256  # samples that are measured at once

_Measures = dict[str, np.ndarray]


# -- the data sets' own layouts ----------------------------------------------------------------------------


@dataclass(frozen=True)
class OfficialLayout:
    """How a data set writes points.

    Attributes:
        name: of the data set.
        joint_order: official joint i is our joint `joint_order[i]`.
        axes: signs by which our camera axes (OpenCV) become the official ones.
        root_is_given: the data set tells the wrist of every image.
        scale_translation: its scores have the alignment by scale and translation.
    """

    name: str
    joint_order: tuple[int, ...]
    axes: tuple[float, float, float]
    root_is_given: bool
    scale_translation: bool

    @property
    def middle_mcp(self) -> int:
        """The middle finger's first joint in the official order; the wrist is joint 0 in both."""
        return self.joint_order.index(metrics.MIDDLE_MCP)

    def joints(self, joints_m: np.ndarray) -> np.ndarray:
        """(..., 21, 3) m in our order and axes -> the official ones, float64."""
        return joints_m[..., list(self.joint_order), :].astype(np.float64) * np.array(self.axes)

    def vertices(self, vertices_m: np.ndarray) -> np.ndarray:
        """(..., V, 3) m in our axes -> the official ones, float64."""
        return vertices_m.astype(np.float64) * np.array(self.axes)


FREIHAND = OfficialLayout("FreiHAND", tuple(range(NUM_JOINTS)), (1.0, 1.0, 1.0), False, False)
HO3D = OfficialLayout("HO3D", JOINTS_TO_MANO, (1.0, -1.0, -1.0), True, True)


def official_layout(settings: Mapping[str, Any]) -> OfficialLayout | None:
    """The layout of the data set that a corpus was imported from, by its `{split}.json`; None for any other corpus."""
    name = str(settings.get("data_set", ""))
    return next((layout for layout in (FREIHAND, HO3D) if name.split(" ")[0] == layout.name), None)


# -- answers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """The one answer for each image of some, with its truth: metres, camera frame, our order and axes.

    Attributes:
        joints: (B, 21, 3).
        vertices: (B, V, 3).
        failed: (B,) bool, where the prediction was not finite and all points stand at the wrist (at the camera, where
            that is not known either).
        true_joints: (B, 21, 3), NaN where it is not known.
        true_vertices: (B, V', 3), likewise; None where the data set has no meshes.
    """

    joints: np.ndarray
    vertices: np.ndarray
    failed: np.ndarray
    true_joints: np.ndarray
    true_vertices: np.ndarray | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fields that are known, by name."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in arrays.items() if values is not None}


def absolute_answers(prediction: Prediction, batch: HandBatch, layout: OfficialLayout) -> Answers:
    """The answers of a batch, at the wrist that the data set tells or that the predictor does.

    Args:
        prediction: with meshes.
        batch: its `wrist` is used where the data set gives it, and is where the truth stands.
        layout: of the data set.

    Raises:
        InputError: the predictor tells no meshes, or not where the hand stands.
    """
    if prediction.mean_vertices is None:
        raise InputError("predictor: expected meshes, an official answer holds 778 vertices an image")
    root = batch.wrist if layout.root_is_given else _predicted_wrist(prediction)
    root = torch.as_tensor(root).detach().double().cpu().unsqueeze(1)
    joints, vertices = (
        torch.as_tensor(points).detach().double().cpu() + root
        for points in (prediction.mean_joints, prediction.mean_vertices)
    )
    failed = ~torch.isfinite(torch.cat([joints, vertices], dim=1)).flatten(1).all(dim=1)
    for points in (joints, vertices):
        points[failed] = torch.nan_to_num(root, nan=0.0, posinf=0.0, neginf=0.0)[failed]
    true_wrist = batch.wrist.unsqueeze(1)
    return Answers(
        joints=joints.float().numpy(),
        vertices=vertices.float().numpy(),
        failed=failed.numpy(),
        true_joints=(batch.joints + true_wrist).numpy(),
        true_vertices=None if batch.vertices is None else (batch.vertices + true_wrist).numpy(),
    )


def _predicted_wrist(prediction: Prediction) -> Tensor:
    translation = getattr(prediction, "translation", None)
    if translation is None:
        raise InputError("predictor: expected a translation, FreiHAND's answers stand in the camera frame")
    return torch.as_tensor(translation).mean(dim=1)


def write_official_answer(
    answers: Callable[[], Iterable[Answers]], layout: OfficialLayout, out: str | Path
) -> tuple[Path, Path]:
    """Write `pred.json` and `pred.zip` into a folder, each under its name only when whole.

    Args:
        answers: gives the answers of the images from the first image on, each time it is called: the file
            has all joints before all vertices, and not all of it is held in memory.
        layout: of the data set.
        out: the folder.
    """
    json_path, zip_path = Path(out) / "pred.json", Path(out) / "pred.zip"

    def lists(official_points: Callable[[Answers], np.ndarray]) -> Iterator[str]:
        for part in answers():
            for points in official_points(part):
                yield json.dumps(_as_written(points).tolist())

    joints, vertices = (lambda part: layout.joints(part.joints)), (lambda part: layout.vertices(part.vertices))
    with replace_file(json_path) as temporary, open(temporary, "w") as file:
        for opening, official_points in (("[[", joints), ("], [", vertices)):
            file.write(opening)
            for number, text in enumerate(lists(official_points)):
                file.write(text if number == 0 else ", " + text)
        file.write("]]")
    with (
        replace_file(zip_path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
    ):
        archive.write(json_path, json_path.name)
    return json_path, zip_path


# -- scores ------------------------------------------------------------------------------------------------


def official_scores(
    pred: Sequence[Any],
    truth_xyz: Any,
    truth_verts: Any = None,
    *,
    layout: OfficialLayout = FREIHAND,
    same_vertices: bool = True,
) -> dict[str, float]:
    """The official figures of a `pred.json`, in mm (errors) and 0..1 (AUC and F-scores).

    Args:
        pred: [xyz_list, verts_list], (S, 21, 3) and (S, V, 3) m, in the data set's order and axes.
        truth_xyz: (S, 21, 3) m, likewise.
        truth_verts: (S, 778, 3) m, or None where the truth has no meshes.
        layout: of the data set.
        same_vertices: vertex i of the predicted mesh is vertex i of the true one; False where the mesh is not MANO's.

    Returns:
        Without `truth_verts` the figures of the joints alone.

    Raises:
        InputError: the lists do not fit each other.
    """
    if len(pred) != 2:
        raise InputError(f"pred: expected [xyz_list, verts_list], got {len(pred)} entries")
    xyz, truth_xyz = _points(pred[0], "pred[0]", NUM_JOINTS), _points(truth_xyz, "truth_xyz", NUM_JOINTS)
    lists = {"pred[0]": xyz, "truth_xyz": truth_xyz}
    verts = None
    if truth_verts is not None:
        verts, truth_verts = _points(pred[1], "pred[1]"), _points(truth_verts, "truth_verts")
        lists |= {"pred[1]": verts, "truth_verts": truth_verts}
    if len({len(values) for values in lists.values()}) > 1 or len(xyz) == 0:
        counts = ", ".join(f"{name} {len(values)}" for name, values in lists.items())
        raise InputError(f"pred: expected an entry for every image of the truth, got {counts}")
    parts = [
        official_measures(
            xyz[rows],
            None if verts is None else verts[rows],
            truth_xyz[rows],
            None if verts is None else truth_verts[rows],
            layout,
            same_vertices,
        )
        for rows in (slice(start, start + _SLICE) for start in range(0, len(xyz), _SLICE))
    ]
    return summarise_official(parts)


def _points(values: Any, name: str, count: int | None = None) -> np.ndarray:
    try:
        points = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected lists of points, all of the same length") from None
    if points.ndim != 3 or points.shape[2] != 3 or (count is not None and points.shape[1] != count):
        raise InputError(f"{name}: expected shape (images, {count or 'points'}, 3), got {points.shape}")
    return points


def official_measures(
    xyz: np.ndarray,
    verts: np.ndarray | None,
    truth_xyz: np.ndarray,
    truth_verts: np.ndarray | None,
    layout: OfficialLayout,
    same_vertices: bool,
) -> _Measures:
    """Errors of every point of some samples, m: what `summarise_official` makes figures of.

    Args:
        xyz, truth_xyz: (S, 21, 3) m, in the data set's order and axes.
        verts, truth_verts: (S, V, 3) m and (S, 778, 3) m, or None.
        layout, same_vertices: see `official_scores`.
    """
    xyz, truth_xyz = torch.from_numpy(xyz), torch.from_numpy(truth_xyz)
    measures = {
        "xyz": metrics.point_distance(xyz, truth_xyz),
        "xyz_procrustes": metrics.pa_error(xyz, truth_xyz, per_point=True),
        "xyz_rotation": metrics.pa_error(xyz, truth_xyz, per_point=True, allow_reflections=False),
    }
    if layout.scale_translation:
        measures["xyz_scale_translation"] = metrics.scale_translation_aligned_error(
            xyz, truth_xyz, scale_joint=layout.middle_mcp
        )
    if verts is not None and truth_verts is not None:
        measures |= _mesh_measures(
            xyz, torch.from_numpy(verts), truth_xyz, torch.from_numpy(truth_verts), same_vertices
        )
    return {name: values.numpy() for name, values in measures.items()}


def _mesh_measures(
    xyz: Tensor, verts: Tensor, truth_xyz: Tensor, truth_verts: Tensor, same_vertices: bool
) -> dict[str, Tensor]:
    measures = {}
    if same_vertices and verts.shape == truth_verts.shape:
        aligned = metrics.procrustes_align(verts, truth_verts)
        measures["verts"] = metrics.point_distance(verts, truth_verts)
        measures["verts_procrustes"] = metrics.point_distance(aligned, truth_verts)
        measures["verts_rotation"] = metrics.pa_error(verts, truth_verts, per_point=True, allow_reflections=False)
    else:
        aligned = metrics.align_mesh_by_joints(verts, xyz, truth_xyz)
    measures["f_score"] = metrics.f_score(verts, truth_verts, F_SCORE_THRESHOLDS_M)
    measures["f_score_aligned"] = metrics.f_score(aligned, truth_verts, F_SCORE_THRESHOLDS_M)
    return measures


def summarise_official(parts: Sequence[_Measures]) -> dict[str, float]:
    """The official figures of `official_measures`: means over the samples, then over the points."""
    measures = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}
    names = {
        "xyz": "mpjpe",
        "xyz_procrustes": "pa_mpjpe",
        "xyz_rotation": "pa_mpjpe_rotation_only",
        "xyz_scale_translation": "mpjpe_scale_translation",
        "verts": "mpvpe",
        "verts_procrustes": "pa_mpvpe",
        "verts_rotation": "pa_mpvpe_rotation_only",
    }
    figures = {}
    for measure, name in names.items():
        if measure in measures:
            errors = measures[measure].double()
            figures[f"{name}_mm"] = 1000 * float(errors.mean(dim=0).mean())
            figures[f"{name}_auc"] = float(metrics.auc(errors))
    for measure, suffix in (("f_score", ""), ("f_score_aligned", "_aligned")):
        if measure in measures:
            for column, threshold in enumerate(F_SCORE_THRESHOLDS_M):
                value = float(measures[measure][:, column].double().mean())
                figures[f"f_score_{1000 * threshold:.0f}mm{suffix}"] = value
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _as_written(points: np.ndarray) -> np.ndarray:
    return np.round(points, _DECIMALS)


def score_answers(answers: Iterable[Answers], layout: OfficialLayout, same_vertices: bool) -> dict[str, float] | None:
    """The official figures of answers (see `protocol.read_answers`); None where the truth is unknown.

    Points are rounded as `write_official_answer` writes them, so that a script that reads the file says the same.

    Args:
        answers: of the images in order, in parts.
        layout, same_vertices: see `official_scores`.
    """
    parts = []
    for part in answers:
        if not np.isfinite(part.true_joints).all():
            return None
        knows_meshes = part.true_vertices is not None and np.isfinite(part.true_vertices).all()
        parts.append(
            official_measures(
                _as_written(layout.joints(part.joints)),
                _as_written(layout.vertices(part.vertices)),
                layout.joints(part.true_joints),
                layout.vertices(part.true_vertices) if knows_meshes else None,
                layout,
                same_vertices,
            )
        )
    common = set.intersection(*(set(part) for part in parts))  # meshes may be known of some images only
    return summarise_official([{name: part[name] for name in part if name in common} for part in parts])
