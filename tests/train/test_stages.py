"""The autoencoder, the conditions and stage 2, each a few steps by the real scripts on a tiny corpus."""

import autoencoder
import encode_corpus
import hand_framing
import numpy as np
import pytest
import stage1
import stage2
import torch
import yaml
from datasets import load_dataset
from handdiff_training.conditions import ConditionData

from hf_handdiff.data.features import CONDITION_FEATURES
from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder, HandImageEncoderConfig, MeshAutoencoder

FEW = (
    "--max_train_steps 2 --train_batch_size 8 --lr_warmup_steps 1 --cpu --report_to none --validation_steps 9 "
    "--config none"
).split()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    pytest.importorskip("numba")
    from hf_handdiff.synthetic import write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    for split in ("train", "validation"):
        write_corpus(folder, 10, seed=3, num_workers=1, split=split)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    HandImageEncoder(HandImageEncoderConfig()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def conditions(corpus, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditions")
    for split in ("train", "validation"):
        encode_corpus.main(
            ["--corpus", str(corpus), "--split", split, "--image_encoder", str(encoder), "--out", str(folder)]
        )
    return folder


def test_conditions_are_in_the_view_frame(conditions):
    cache = ConditionData(conditions, "train")
    assert 5 <= len(cache) <= 10
    batch = cache.first(10)
    assert batch.joints[:, 0].abs().max() == 0  # wrist-relative
    assert batch.image.point_features.shape == (len(cache), 21, 64)
    palm = (batch.vertices - batch.joints[:, :1]).norm(dim=-1)
    assert palm.max() < 0.35  # a hand, in metres
    assert yaml.safe_load((conditions / "train.yaml").read_text())["rows"] == len(cache)


def test_conditions_are_a_data_set_like_any_other(conditions):
    """By its folder alone, streamed; the rows are those that the scripts read, and so are rows in any order."""
    read = ConditionData(conditions, "train").first(100)
    streamed = load_dataset(str(conditions), split="train", streaming=True)
    assert streamed.features == CONDITION_FEATURES
    rows = list(streamed)
    for name, values in (("joints_m", read.joints), ("vertices_m", read.vertices), ("keypoints_visible", read.visible)):
        assert np.array_equal(np.array([row[name] for row in rows], values.numpy().dtype), values.numpy())
    some = ConditionData(conditions, "train").rows(np.array([3, 0, 3]))
    assert torch.equal(some.image.point_features, read.image.point_features[[3, 0, 3]])
    assert torch.equal(some.row, torch.tensor([3, 0, 3]))


def test_a_folder_without_conditions_is_refused(tmp_path):
    with pytest.raises(InputError, match="--conditions: expected what encode_corpus.py wrote"):
        ConditionData(tmp_path, "train")


def test_framing_leaves_the_rest_alone(corpus, encoder, tmp_path):
    hand_framing.main([*FEW, "--corpus", str(corpus), "--image_encoder", str(encoder), "--output_dir", str(tmp_path)])
    before = HandImageEncoder.from_pretrained(encoder).state_dict()
    after = HandImageEncoder.from_pretrained(tmp_path / "model").state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"framing"}


def test_autoencoder_and_both_stages_train(conditions, tmp_path):
    figures = autoencoder.main(
        [*FEW, "--principal_component_samples", "300", "--output_dir", str(tmp_path / "autoencoder")]
    )
    assert figures["vertex_mm"] < 3
    saved = MeshAutoencoder.from_pretrained(tmp_path / "autoencoder" / "model")
    assert min(saved.config.latent_std) > 0 and saved.faces.max() == 777
    tiny = ["--hidden_size", "32", "--num_blocks", "1", "--validation_samples", "4"]
    stage1.main([*FEW, *tiny, "--conditions", str(conditions), "--output_dir", str(tmp_path / "stage1")])
    figures = stage2.main(
        [*FEW, *tiny]
        + ["--conditions", str(conditions), "--joint_denoiser", str(tmp_path / "stage1" / "model")]
        + ["--mesh_autoencoder", str(tmp_path / "autoencoder" / "model"), "--output_dir", str(tmp_path / "stage2")]
    )
    assert figures["spread_stage1_mm"] > 0 and figures["best_of_20_mm"] < figures["single_mm"]
