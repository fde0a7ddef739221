"""Synthetic downloads of official data sets, their truth, and runs over them."""

import json
from types import SimpleNamespace

import numpy as np
import torch
from datasets import Dataset, Features
from official_trees import write_freihand, write_ho3d

from hf_handdiff.cli.main import main
from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.data.freihand import import_freihand
from hf_handdiff.data.ho3d import import_ho3d
from hf_handdiff.evaluation.protocol import run_protocol
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.topology import MANO

NUM_EVALUATION = 3


def make_tree(name, folder, hands, truth=True):
    folder.mkdir(exist_ok=True)
    if name == "freihand":
        return write_freihand(folder, *hands, load_open_hand_arrays()["hands_mean"].reshape(15, 3), truth=truth)
    return write_ho3d(folder, *hands, truth=truth)


def import_tree(name, root, out, **options):
    if name == "freihand":
        import_freihand(root, out, splits=["evaluation"], progress=False, **options)
    else:
        import_ho3d(root, out, "v2", splits=["evaluation"], progress=False, **options)
    return out


def official_truth(root):
    return [np.array(json.loads((root / f"evaluation_{kind}.json").read_text())) for kind in ("xyz", "verts")]


def evaluate(checkpoint, corpus, out, *more):
    arguments = ["--checkpoint", checkpoint, "--data", corpus, "--out", out, "--num-hypotheses", 2, "--pictures", 0]
    return main(["evaluate", *map(str, arguments), *map(str, more)])


class Known:
    """Answers with the truth turned into `change(points)`, where it knows it; wrist-relative."""

    def __init__(self, hands, change=lambda points: points, fail_at=None):
        self.hands, self.change, self.fail_at = hands, change, fail_at
        self.seen = []

    def __call__(self, batch):
        self.seen += batch.indices
        if self.fail_at in batch.indices:
            raise KeyboardInterrupt
        wrist = self.hands.joints[batch.indices][:, :1]
        joints, vertices = (
            torch.from_numpy(self.change(points[batch.indices] - wrist)).float()
            for points in (self.hands.joints, self.hands.vertices)
        )
        return SimpleNamespace(
            joints=joints.unsqueeze(1),
            vertices=vertices.unsqueeze(1),
            joint_hypotheses=None,
            mean_joints=joints,
            mean_vertices=vertices,
            joint_std=torch.full(joints.shape[:2], 0.01),
            keypoints_2d=torch.zeros(len(batch), 21, 2),
            hand_score=torch.ones(len(batch)),
            translation=torch.from_numpy(wrist).float(),
        )


def run(predict, corpus, out, layout, **options):
    from hf_handdiff.data.corpus import load_corpus

    settings = EvaluationSettings("known", "made up", "evaluation", 1, true_mesh=MANO)
    dataset = load_corpus(corpus, "evaluation")
    return run_protocol(predict, dataset, settings, out, answers_for=layout, show_progress=False, **options)


def write_rows(rows, folder, leave_out=()):
    folder.mkdir()
    rest = {"pose_rad": np.zeros((16, 3)), "shape": [0.0] * 10, "translation_m": [0.0] * 3, "skin_tone": 0.5}
    kept = {name: feature for name, feature in CORPUS_FEATURES.items() if name not in leave_out}
    complete = {name: [{**row, **rest}[name] for row in rows] for name in kept}
    Dataset.from_dict(complete, features=Features(kept)).to_parquet(folder / "test-00000-of-00001.parquet")
    return folder
