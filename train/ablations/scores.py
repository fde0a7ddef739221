"""Scores of a variant: the package's own pipelines and evaluation, on a corpus of images."""

import tempfile

import torch
from handdiff_training.hands import load_hand

from ablations.models import MeshRegressor, VertexSpace, sample_variant
from hf_handdiff import CascadedHandPipeline, MeshLDMPipeline
from hf_handdiff.evaluation.batches import HandBatch, Prediction
from hf_handdiff.evaluation.prior import sample_prior_baseline
from hf_handdiff.evaluation.protocol import run_protocol
from hf_handdiff.evaluation.results import Results
from hf_handdiff.evaluation.settings import EvaluationSettings
from hf_handdiff.evaluation.summary import summarise
from hf_handdiff.evaluation.true_mesh import hand_of_pipeline, mesh_of_data, mesh_of_pipeline
from hf_handdiff.models import HandImageEncoder, JointDenoiser, MeshAutoencoder, MeshLatentDenoiser
from hf_handdiff.pipelines.base import HandPipeline
from hf_handdiff.pipelines.schedulers import default_scheduler


class RegressorPipeline(MeshLDMPipeline):
    """One mesh an image from a `MeshRegressor`; crops, the fitted hand and the output are as in all pipelines."""

    def sample_meshes(self, joints, encoding, seeds, num_hypotheses, num_steps, *others):
        """Vertices (B, 1, V, 3) and joints (B, 1, 21, 3), m, view frame."""
        network, space = self.mesh_latent_denoiser, self.mesh_autoencoder
        found = sample_variant(network, space, self.mesh_scheduler, None, None, encoding.conditions, num_steps)
        return tuple(values.cpu() for values in found)


def load_pipeline(args, folder, image_encoder: HandImageEncoder, steps: tuple[int, int]) -> HandPipeline:
    """A run of stage2.py, ready to answer.

    Args:
        args: the flags that it was trained with.
        folder: its model folder.
        image_encoder: in front of it.
        steps: denoising steps of stage 1 and of stage 2.
    """
    network = (MeshRegressor if args.deterministic else MeshLatentDenoiser).from_pretrained(folder)
    if args.space == "vertices":
        space = VertexSpace.load(folder)
    else:
        space = MeshAutoencoder.from_pretrained(args.mesh_autoencoder)
    parts = {
        "image_encoder": image_encoder,
        "mesh_autoencoder": space.eval(),
        "mesh_latent_denoiser": network.eval(),
        "mesh_scheduler": default_scheduler(),
        "num_mesh_inference_steps": steps[1],
    }
    if args.joint_source == "none":
        pipeline = (RegressorPipeline if args.deterministic else MeshLDMPipeline)(**parts)
    else:
        stage1 = JointDenoiser.from_pretrained(args.joint_denoiser).eval()
        pipeline = CascadedHandPipeline(
            **parts, joint_denoiser=stage1, joint_scheduler=default_scheduler(), num_inference_steps=steps[0]
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.use_hand(load_hand(args))
    return pipeline


def parameter_counts(pipeline: HandPipeline) -> dict[str, int]:
    """Of the networks that answer, and together; the image encoder and the autoencoder are everyone's."""
    stages = {"stage1": "joint_denoiser", "stage2": "mesh_latent_denoiser"}
    counts = {name: _parameters(pipeline.components.get(part)) for name, part in stages.items()}
    return {**counts, "total": sum(counts.values())}


def _parameters(model: torch.nn.Module | None) -> int:
    return 0 if model is None else sum(parameter.numel() for parameter in model.parameters())


def score(pipeline: HandPipeline, corpus, label: str, args) -> Results:
    """All results of the package's report.

    Args:
        pipeline: of `load_pipeline`.
        corpus: the split of a corpus.
        label: its name.
        args: num_hypotheses, sampling_seed, score_samples.
    """
    count = 1 if isinstance(pipeline, RegressorPipeline) else args.num_hypotheses

    def predict(batch: HandBatch) -> Prediction:
        cameras = batch.intrinsics_px.numpy()
        return pipeline(batch.images, intrinsics=cameras, num_hypotheses=count, generator=batch.seeds, output_type="pt")

    steps = [pipeline.config.get(name) for name in ("num_inference_steps", "num_mesh_inference_steps")]
    options = " and ".join(str(number) for number in steps if number) + " steps"
    layer = hand_of_pipeline(pipeline)
    meshes = {"predicted_mesh": mesh_of_pipeline(pipeline), "true_mesh": mesh_of_data(corpus, {}, layer)}
    settings = EvaluationSettings("ablation", label, "", count, args.sampling_seed, options, **meshes)
    with tempfile.TemporaryDirectory() as chunks:
        scores = run_protocol(
            predict, corpus, settings, chunks, num_samples=args.score_samples, prior=sample_prior_baseline(layer)
        )
    return summarise(scores, settings)
