"""Scores of a variant of stage 2 on cached conditions: through stage 1 and stage 2, by the package's own evaluation."""

import math
import statistics
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch
from handdiff_training.conditions import ConditionData, Conditions
from tqdm.auto import tqdm

from ablations.models import MeshRegressor, VertexSpace, sample_variant
from hf_handdiff.evaluation import metrics, uncertainty
from hf_handdiff.evaluation.batches import HandBatch, sample_seed
from hf_handdiff.evaluation.prior import sample_prior_baseline
from hf_handdiff.evaluation.results import Results
from hf_handdiff.evaluation.scores import Scores, measure_batch
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.evaluation.summary import summarise
from hf_handdiff.hand.topology import NUM_JOINTS
from hf_handdiff.models import JointDenoiser, MeshAutoencoder, MeshLatentDenoiser
from hf_handdiff.models.mesh_latent_denoiser import ImageConditions
from hf_handdiff.pipelines.aggregation import spread
from hf_handdiff.pipelines.sampling import draw_noise, hypothesis_generators, sample_joints
from hf_handdiff.pipelines.schedulers import default_scheduler

BATCH_SIZE = 50
TIMED_IMAGES = 15
GRID_TIMED_IMAGES = 5
GRID_HYPOTHESES = (1, 5, 10, 20, 50)
GRID_JOINT_STEPS = (2, 5, 10, 20)
GRID_MESH_STEPS = (1, 2, 5, 10)


@dataclass
class Sampler:
    """A trained variant with what it needs to answer.

    Attributes:
        model: the network of stage 2.
        space: the `MeshAutoencoder` or `VertexSpace` that it works in.
        stage1: None where it does not look at joints.
    """

    model: MeshLatentDenoiser
    space: torch.nn.Module
    stage1: JointDenoiser | None

    def __post_init__(self):
        self.scheduler, self.joint_scheduler = default_scheduler(), default_scheduler()

    @property
    def deterministic(self) -> bool:
        """Whether it has one answer only."""
        return isinstance(self.model, MeshRegressor)

    def parameter_counts(self) -> dict[str, int]:
        """Of both networks and together; the autoencoder, which diffuses nothing, is not counted."""
        counts = {"stage1": _parameters(self.stage1), "stage2": _parameters(self.model)}
        return {**counts, "total": sum(counts.values())}

    def hypotheses(self, image: ImageConditions, seeds: list[int], count: int, steps: int) -> torch.Tensor | None:
        """(B, N, 21, 3) m of stage 1, or None."""
        if self.stage1 is None:
            return None
        noise = draw_noise(hypothesis_generators(seeds, count, stage=1), len(seeds), (NUM_JOINTS, 3))
        conditions = (image.keypoints, image.keypoint_scores, image.view_scale)
        return sample_joints(self.stage1, self.joint_scheduler, noise, *conditions, steps)

    def meshes(self, image: ImageConditions, joints, seeds: list[int], count: int, steps: int):
        """Vertices (B, N, V, 3) and joints (B, N, 21, 3), m; N is 1 for a deterministic variant."""
        generators = hypothesis_generators(seeds, 1 if self.deterministic else count, stage=2)
        noise = draw_noise(generators, len(seeds), self.space.latent_shape)
        return sample_variant(self.model, self.space, self.scheduler, noise, joints, image, steps)

    def milliseconds(
        self, conditions: ConditionData, images: int, count: int, joint_steps: int, mesh_steps: int
    ) -> float:
        """Median over a few images of the time that sampling takes for one image."""
        seconds = []
        for row in range(min(images, len(conditions))):
            image = conditions.rows(np.array([row])).image
            start = time.perf_counter()
            joints = self.hypotheses(image, [row], count, joint_steps)
            self.meshes(image, joints, [row], count, mesh_steps)
            seconds.append(time.perf_counter() - start)
        return 1000 * statistics.median(seconds)


def load_sampler(args, folder) -> Sampler:
    """A run of stage2.py.

    Args:
        args: the flags that it was trained with.
        folder: its model folder.
    """
    network = MeshRegressor if args.deterministic else MeshLatentDenoiser
    if args.space == "vertices":
        space = VertexSpace.load(folder)
    else:
        space = MeshAutoencoder.from_pretrained(args.mesh_autoencoder)
    known = args.joint_source != "none"
    stage1 = JointDenoiser.from_pretrained(args.joint_denoiser).eval() if known else None
    return Sampler(network.from_pretrained(folder).eval(), space.eval(), stage1)


def _parameters(model) -> int:
    return 0 if model is None else sum(parameter.numel() for parameter in model.parameters())


def _batches(conditions: ConditionData, limit: int | None, name: str):
    """Row numbers, seeds and conditions, batch by batch."""
    count = len(conditions) if limit is None else min(limit, len(conditions))
    for start in tqdm(range(0, count, BATCH_SIZE), desc=name, unit="batch", leave=False):
        rows = np.arange(start, min(start + BATCH_SIZE, count))
        yield rows, conditions.rows(rows)


def split_scores(sampler: Sampler, conditions: ConditionData, label: str, args) -> Results:
    """All results of the package's report, overall and by the share of joints that are visible.

    Args:
        sampler: the trained variant.
        conditions: of the split.
        label: its name.
        args: num_hypotheses, num_inference_steps, num_mesh_inference_steps, sampling_seed, score_samples.
    """
    count = 1 if sampler.deterministic else args.num_hypotheses
    prior, parts = sample_prior_baseline(), []
    for rows, batch in _batches(conditions, args.score_samples, label):
        seeds = [sample_seed(args.sampling_seed, int(row)) for row in rows]
        proposals = sampler.hypotheses(batch.image, seeds, count, args.num_inference_steps)
        vertices, joints = sampler.meshes(batch.image, proposals, seeds, count, args.num_mesh_inference_steps)
        parts.append(measure_batch(_prediction(vertices, joints, proposals), _truth(batch, rows, seeds), prior))
    steps = args.num_inference_steps, args.num_mesh_inference_steps
    milliseconds = sampler.milliseconds(conditions, TIMED_IMAGES, count, *steps)
    scores = Scores.join(parts)
    scores = replace(scores, seconds=np.full(len(scores), milliseconds / 1000))
    options = f"{steps[0]} and {steps[1]} steps"
    settings = EvaluationSettings("ablation", label, "", count, args.sampling_seed, options)
    return summarise(scores, settings)


def _prediction(vertices, joints, proposals) -> SimpleNamespace:
    """As the pipelines would return it; what is about the image alone is NaN."""
    count = len(joints)
    return SimpleNamespace(
        joints=joints,
        vertices=vertices,
        joint_hypotheses=proposals,
        mean_joints=joints.mean(1),
        mean_vertices=vertices.mean(1),
        joint_std=torch.full((count, NUM_JOINTS), math.nan),
        keypoints_2d=torch.full((count, NUM_JOINTS, 2), math.nan),
        hand_score=torch.ones(count),
    )


def _truth(conditions: Conditions, rows: np.ndarray, seeds: list[int]) -> HandBatch:
    count = len(rows)
    return HandBatch(
        indices=rows.tolist(),
        sample_ids=[str(row) for row in rows],
        images=[],
        intrinsics_px=torch.eye(3).expand(count, 3, 3),
        seeds=seeds,
        has_hand=torch.ones(count, dtype=torch.bool),
        keypoints_px=torch.zeros(count, NUM_JOINTS, 2),
        keypoints_visible=conditions.visible,
        wrist=torch.zeros(count, 3),
        joints=conditions.joints,
        vertices=conditions.vertices,
        # Of the joints, not of the silhouette: that one was measured before the crop was augmented.
        visible_share=conditions.visible.float().mean(1),
    )


def grid_scores(sampler: Sampler, conditions: ConditionData, num_samples: int, seed: int) -> list[dict]:
    """A cell of figures for each number of hypotheses and of denoising steps of both stages.

    N hypotheses are the first N of the most: the same noise everywhere.
    """
    most = max(GRID_HYPOTHESES)
    parts: dict[tuple[int, int, int], list[dict[str, torch.Tensor]]] = {}
    for rows, batch in _batches(conditions, num_samples, "grid"):
        seeds = [sample_seed(seed, int(row)) for row in rows]
        for joint_steps in GRID_JOINT_STEPS:
            proposals = sampler.hypotheses(batch.image, seeds, most, joint_steps)
            for mesh_steps in GRID_MESH_STEPS:
                vertices, joints = sampler.meshes(batch.image, proposals, seeds, most, mesh_steps)
                errors = metrics.pa_error(joints, batch.joints[:, None])  # (B, most)
                for count in GRID_HYPOTHESES:
                    measured = _cell(batch, joints[:, :count], vertices[:, :count].mean(1), errors[:, :count])
                    parts.setdefault((count, joint_steps, mesh_steps), []).append(measured)
    cells = []
    for (count, joint_steps, mesh_steps), measured in parts.items():
        whole = {name: torch.cat([part[name] for part in measured]) for name in measured[0]}
        ranks = whole.pop("ranks").reshape(-1, 1)
        figures = {name: 1000 * values.double().mean().item() for name, values in whole.items()}
        ece = uncertainty.quantile_ece(ranks, count).item()
        cells.append(
            {
                "num_hypotheses": count,
                "joint_steps": joint_steps,
                "mesh_steps": mesh_steps,
                **figures,
                "ece": ece if math.isfinite(ece) else None,
                "milliseconds": sampler.milliseconds(conditions, GRID_TIMED_IMAGES, count, joint_steps, mesh_steps),
            }
        )
    return cells


def _cell(
    conditions: Conditions, joints: torch.Tensor, mean_vertices: torch.Tensor, errors: torch.Tensor
) -> dict[str, torch.Tensor]:
    """m, but for the ranks; the wrist, being the origin, is left out of what is about the distribution."""
    return {
        "pa_mpjpe_mm": metrics.pa_error(joints.mean(1), conditions.joints),
        "pa_mpvpe_mm": metrics.pa_error(mean_vertices, conditions.vertices),
        "mpjpe_mm": metrics.mpjpe(joints.mean(1), conditions.joints),
        "single_pa_mpjpe_mm": errors.mean(1),
        "best_pa_mpjpe_mm": errors.amin(1),
        "energy_score_mm": uncertainty.energy_score(joints, conditions.joints)[:, 1:].mean(1),
        "spread_mm": spread(joints)[:, 1:].mean(1),
        "ranks": uncertainty.truth_ranks(joints, conditions.joints, center="pooled")[:, 1:],
    }
