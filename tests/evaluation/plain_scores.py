"""The official scores once more, in plain numpy."""

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import cKDTree


def plain_align(true, predicted):
    """As the official scripts: centred, divided by the Frobenius norm, orthogonal Procrustes with scale."""
    true_centre, predicted_centre = true.mean(0), predicted.mean(0)
    a, b = true - true_centre, predicted - predicted_centre
    size_a, size_b = np.linalg.norm(a) + 1e-8, np.linalg.norm(b) + 1e-8
    rotation, scale = orthogonal_procrustes(a / size_a, b / size_b)
    return (b / size_b) @ rotation.T * scale * size_a + true_centre


def plain_f(true, predicted, threshold):
    precision = (cKDTree(true).query(predicted)[0] < threshold).mean()
    recall = (cKDTree(predicted).query(true)[0] < threshold).mean()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def plain_auc(errors):
    thresholds = np.linspace(0, 0.05, 100)
    areas = []
    for joint in range(errors.shape[1]):
        curve = np.array([(errors[:, joint] <= threshold).mean() for threshold in thresholds])
        areas.append(((curve[1:] + curve[:-1]) / 2 * np.diff(thresholds)).sum() / 0.05)
    return np.mean(areas)


def plain_scores(xyz, verts, true_xyz, true_verts, middle_mcp=None):
    def errors(predicted, true, align=None):
        moved = [p if align is None else align(t, p) for t, p in zip(true, predicted, strict=True)]
        return np.stack([np.linalg.norm(t - p, axis=1) for t, p in zip(true, moved, strict=True)])

    def scale_translation(true, predicted):
        scale = np.linalg.norm(true[middle_mcp] - true[0]) / np.linalg.norm(predicted[middle_mcp] - predicted[0])
        return (predicted - predicted[0]) * scale + true[0]

    measured = {
        "mpjpe": errors(xyz, true_xyz),
        "pa_mpjpe": errors(xyz, true_xyz, plain_align),
        "mpvpe": errors(verts, true_verts),
        "pa_mpvpe": errors(verts, true_verts, plain_align),
    }
    if middle_mcp is not None:
        measured["mpjpe_scale_translation"] = errors(xyz, true_xyz, scale_translation)
    figures = {}
    for name, values in measured.items():
        figures[f"{name}_mm"] = 1000 * values.mean(axis=0).mean()
        figures[f"{name}_auc"] = plain_auc(values)
    for threshold in (0.005, 0.015):
        pairs = list(zip(true_verts, verts, strict=True))
        figures[f"f_score_{1000 * threshold:.0f}mm"] = np.mean([plain_f(t, p, threshold) for t, p in pairs])
        aligned = [plain_f(t, plain_align(t, p), threshold) for t, p in pairs]
        figures[f"f_score_{1000 * threshold:.0f}mm_aligned"] = np.mean(aligned)
    return figures
