"""Without a flag a script starts from the bundled weights on a small corpus that it makes; a wrong place is told."""

from pathlib import Path

import autoencoder
import hand_framing
import image_encoder
import keypoint_distribution
import pytest
import stage1
import stage2
import torch
from handdiff_training import small_corpus

import hf_handdiff
from hf_handdiff import models

SCRIPTS = {
    stage1: ("joint_denoiser", models.JointDenoiser),
    stage2: ("mesh_latent_denoiser", models.MeshLatentDenoiser),
    autoencoder: ("mesh_autoencoder", models.MeshAutoencoder),
    image_encoder: ("image_encoder", models.HandImageEncoder),
    hand_framing: ("image_encoder", models.HandImageEncoder),
}
SHORT = "--max_train_steps 2 --train_batch_size 8 --dataloader_num_workers 0 --report_to none --cpu".split()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Of so few renders that it is quick; the scripts share it."""
    pytest.importorskip("numba")
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HANDDIFF_CACHE", str(folder))
        patch.setattr(small_corpus, "NUM_RENDERS", {"train": 8, "validation": 4})
        yield folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_first_run_leaves_a_model_and_says_how_to_go_on(cache, script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script.main(SHORT)
    folder, network = SCRIPTS[script]
    saved = network.from_pretrained(tmp_path / "runs" / "quick_start" / script.__name__ / "model").state_dict()
    bundled = network.from_pretrained(Path(hf_handdiff.DEFAULT_CHECKPOINT) / folder).state_dict()
    assert saved.keys() == bundled.keys()
    changed = [(saved[key] - bundled[key]).abs().max().item() for key in saved if saved[key].is_floating_point()]
    assert 0 < max(changed)
    names = [key for key in saved if "latent_" not in key and saved[key].is_floating_point()]
    assert all(torch.allclose(saved[key], bundled[key], atol=1e-2) for key in names)  # it started there
    said = capsys.readouterr().out
    assert f"accelerate launch train/{script.__name__}.py --config train/configs/{script.__name__}.yaml" in said
    assert len(list(cache.glob("corpus-*/complete"))) <= 1


def test_an_encoder_that_learns_the_side_has_a_head_for_it(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_encoder.main([*SHORT, "--mirrored_share", "0.5"])
    folder = tmp_path / "runs" / "quick_start" / "image_encoder" / "model"
    saved = models.HandImageEncoder.from_pretrained(folder)
    assert saved.config.side_hidden_size == 64 and (saved.side_head.input_mean != 0).any()
    image_encoder.main([*SHORT, "--mirrored_share", "0.5", "--initial", str(folder), "--output_dir", "again"])
    again = models.HandImageEncoder.from_pretrained(tmp_path / "again" / "model").side_head.state_dict()
    assert all(torch.allclose(again[name], value, atol=1e-2) for name, value in saved.side_head.state_dict().items())


def test_a_first_run_of_the_distribution_adds_a_trained_head(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keypoint_distribution.main([*SHORT, "--num_samples", "8"])
    folder = tmp_path / "runs" / "quick_start" / "keypoint_distribution" / "model"
    saved = models.HandImageEncoder.from_pretrained(folder)
    bundled = models.HandImageEncoder.from_pretrained(Path(hf_handdiff.DEFAULT_CHECKPOINT) / "image_encoder")
    weights = saved.state_dict()
    for name, value in bundled.state_dict().items():
        assert name.startswith("distribution_head") or torch.equal(weights[name], value), name
    assert saved.config.keypoint_factors >= 1 and saved.config.distribution_scale > 0
    assert (weights["distribution_head.input_mean"] != 0).any()
    said = capsys.readouterr().out
    assert "accelerate launch train/keypoint_distribution.py --config train/configs/keypoint_distribution.yaml" in said
    again = [*SHORT, "--num_samples", "8", "--image_encoder", str(folder), "--output_dir", str(tmp_path / "again")]
    keypoint_distribution.main(again)
    head = models.HandImageEncoder.from_pretrained(tmp_path / "again" / "model").distribution_head.state_dict()
    assert head["out.weight"].shape == weights["distribution_head.out.weight"].shape
    assert torch.allclose(head["out.weight"], weights["distribution_head.out.weight"], atol=1e-2)  # it went on


WRONG = [
    ("stage2", "--joint_denoiser runs/stage1/model", "--joint_denoiser: expected a folder with a saved JointDenoiser"),
    ("stage2", "--conditions nowhere/at/all", "--conditions: expected what encode_corpus.py wrote"),
    ("stage1", "--init_from {here}", "--init_from: expected a folder with a saved JointDenoiser"),
    ("stage1", "--init_from {autoencoder} --conditions none", "which holds a MeshAutoencoder"),
    ("stage1", "--hidden_size 32", "--hidden_size: the network of --init_from has its own"),
    ("stage1", "--config nowhere.yaml", "--config: expected a YAML file of flag: value, got nowhere.yaml"),
    ("stage1", "--conditions none --output_dir {file}", "--output_dir: expected a folder that can be written"),
    ("stage1", "--conditions none --resume_from_checkpoint {here}", "holds no checkpoint of this training"),
    ("image_encoder", "--corpus {here}", "--corpus: {here} holds no Parquet shards"),
    ("image_encoder", "--initial {here}", "--initial: expected a folder with a saved HandImageEncoder"),
    ("hand_framing", "--corpus runs/no/corpus", "--corpus: expected a folder of Parquet shards or a Hub id"),
    ("keypoint_distribution", "--image_encoder {autoencoder}", "which holds a MeshAutoencoder"),
    ("keypoint_distribution", "--corpus {here}", "--corpus: {here} holds no Parquet shards"),
    ("autoencoder", "--init_from runs/no/model", "--init_from: expected a folder with a saved MeshAutoencoder"),
]


@pytest.mark.parametrize("script, flags, sentence", WRONG, ids=[f"{row[0]} {row[1]}" for row in WRONG])
def test_a_wrong_place_is_one_sentence_and_exit_2(cache, script, flags, sentence, tmp_path, capsys, monkeypatch):
    from handdiff_training.flags import run

    module = {script.__name__: script for script in (*SCRIPTS, keypoint_distribution)}[script]
    (tmp_path / "file").write_text("")
    places = {
        "here": tmp_path,
        "file": tmp_path / "file",
        "autoencoder": Path(hf_handdiff.DEFAULT_CHECKPOINT) / "mesh_autoencoder",
    }
    monkeypatch.chdir(tmp_path)
    given = [*SHORT, *flags.format(**places).split()]
    with pytest.raises(SystemExit) as ended:
        run(lambda: module.main(given))
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if sentence.format(**places) in line]
    assert len(said) == 1, said


def test_conditions_of_an_earlier_version_are_told_how_to_be_made_anew(tmp_path):
    from handdiff_training.conditions import ConditionData

    from hf_handdiff.errors import InputError

    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "meta.json").write_text("{}")
    with pytest.raises(InputError, match=r"make it anew with `python train/encode_corpus.py .* --split train`"):
        ConditionData(tmp_path, "train")


@pytest.mark.slow
def test_several_processes_say_it_once(tmp_path, warm):
    flags = ["--init_from", "runs/no/model", "--output_dir", str(tmp_path)]
    ended = warm.run_group(2, stage1.__file__, *flags)
    assert all(done.returncode != 0 for done in ended)
    said = "".join(done.stderr for done in ended)
    assert said.count("--init_from: expected a folder with a saved JointDenoiser") == 1
