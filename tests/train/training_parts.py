"""A tiny corpus and tiny networks for trainings of stage 2 from images."""

from pathlib import Path
from types import SimpleNamespace

import encode_corpus
import numpy as np
import stage2
import torch
from transformers import Dinov2Config, ResNetConfig

from hf_handdiff.models import (
    HandImageEncoder,
    HandImageEncoderConfig,
    JointDenoiser,
    JointDenoiserConfig,
    MeshAutoencoder,
)

SIZE = 64
BACKBONES = {
    "dinov2": Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, patch_size=16, image_size=SIZE, out_indices=[1, 2]
    ),
    "resnet": ResNetConfig(
        embedding_size=8, layer_type="basic", depths=[1, 1, 1, 1], hidden_sizes=[8, 12, 16, 24],
        out_features=["stage2", "stage3"],
    ),  # the last stage is of no use to any map
}  # fmt: skip


def tiny_encoder(kind: str) -> HandImageEncoder:
    """An untrained encoder whose landmarks lie all over the crop."""
    torch.manual_seed(0)
    config = HandImageEncoderConfig(
        backbone_config=BACKBONES[kind], image_size=SIZE, point_feature_size=16, global_feature_size=24,
        keypoint_factors=2, distribution_hidden_size=16,
    )  # fmt: skip
    encoder = HandImageEncoder(config)
    with torch.no_grad():
        encoder.landmark_head.bias.copy_(0.2 + 0.6 * torch.rand(42))
    return encoder


def make_parts(root: Path) -> SimpleNamespace:
    """Folders in `root`: corpus, encoder (on DINOv2), resnet_encoder, conditions, stage1, autoencoder."""
    from hf_handdiff.synthetic import write_corpus

    parts = SimpleNamespace(
        **{name: root / name for name in "corpus encoder resnet_encoder conditions stage1 autoencoder".split()}
    )
    for split in ("train", "validation"):
        write_corpus(parts.corpus, 8, seed=3, num_workers=1, split=split)
    tiny_encoder("dinov2").save_pretrained(parts.encoder)
    tiny_encoder("resnet").save_pretrained(parts.resnet_encoder)
    torch.manual_seed(0)
    JointDenoiser(JointDenoiserConfig(hidden_size=32, num_blocks=1)).save_pretrained(parts.stage1)
    bundled = Path(stage2.__file__).parents[1] / "src/hf_handdiff/checkpoints/base/mesh_autoencoder"
    MeshAutoencoder.from_pretrained(bundled).save_pretrained(parts.autoencoder)
    for split in ("train", "validation"):
        given = [
            "--corpus",
            parts.corpus,
            "--split",
            split,
            "--image_encoder",
            parts.encoder,
            "--out",
            parts.conditions,
        ]
        encode_corpus.main([*map(str, given)])
    return parts


def stage2_flags(parts, learning: bool | None, encoder: str = "encoder") -> list[str]:
    """Of a training with the encoder in the loop, learning or not; None: from the cache."""
    flags = ["--joint_denoiser", parts.stage1, "--mesh_autoencoder", parts.autoencoder]
    if learning is None:
        flags += ["--conditions", parts.conditions]
    else:
        flags += ["--corpus", parts.corpus, "--image_encoder", getattr(parts, encoder)]
    return [*map(str, flags), *(["--encoder_learning_rate", "1e-3"] if learning else [])]


def stage2_task(parts, flags: list[str], learning: bool | None, encoder: str = "encoder") -> stage2.Stage2Task:
    """The task of such a training."""
    args = stage2.parse_flags([*flags, *stage2_flags(parts, learning, encoder)])
    torch.manual_seed(0)
    return stage2.Stage2Task(args)


def assert_close_weights(one: dict, other: dict, atol: float) -> None:
    """Two state dictionaries."""
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name].numpy(), other[name].numpy(), atol=atol, rtol=0, err_msg=name)
