"""The average of two networks."""

from pathlib import Path

import average
import pytest
import torch
from handdiff_training.encoding import with_new_head
from handdiff_training.flags import run

from hf_handdiff import DEFAULT_CHECKPOINT
from hf_handdiff.models import HandImageEncoder, MeshLatentDenoiser


@pytest.fixture
def encoders(tiny_parts, tmp_path):
    """Folders of an encoder and of one that went on from it and got a head for the side."""
    older = HandImageEncoder.from_pretrained(tiny_parts.encoder)
    newer = with_new_head(HandImageEncoder.from_pretrained(tiny_parts.encoder), side_hidden_size=4)
    with torch.no_grad():
        for parameter in newer.parameters():
            parameter.add_(1.0)
    newer.config.restricted_by = ["FreiHAND"]
    older.save_pretrained(tmp_path / "older")
    newer.save_pretrained(tmp_path / "newer")
    return tmp_path / "older", tmp_path / "newer"


def test_weights_lie_between_both_and_new_heads_are_kept(encoders, tmp_path):
    older, newer = encoders
    average.main(["--older", str(older), "--newer", str(newer), "--share", "0.6", "--out", str(tmp_path / "out")])
    first, second, found = (HandImageEncoder.from_pretrained(path) for path in (older, newer, tmp_path / "out"))
    assert found.config.side_hidden_size == 4 and found.config.restricted_by == ["FreiHAND"]
    parameters = dict(first.named_parameters())
    for name, value in found.named_parameters():
        if name in parameters:
            torch.testing.assert_close(value, parameters[name] + 0.6)
        else:
            assert name.startswith("side_head")
            assert torch.equal(value, dict(second.named_parameters())[name])


def test_two_of_stage_2(tmp_path):
    newer = MeshLatentDenoiser.from_pretrained(Path(DEFAULT_CHECKPOINT) / "mesh_latent_denoiser")
    before = {name: value.clone() for name, value in newer.named_parameters()}
    with torch.no_grad():
        for parameter in newer.parameters():
            parameter.add_(0.5)
    newer.save_pretrained(tmp_path / "newer")
    given = ["--network", "mesh_latent_denoiser", "--older", "bundled", "--newer", str(tmp_path / "newer")]
    average.main([*given, "--out", str(tmp_path / "out")])
    for name, value in MeshLatentDenoiser.from_pretrained(tmp_path / "out").named_parameters():
        torch.testing.assert_close(value, before[name] + 0.25)


@pytest.mark.parametrize(
    "wrong, sentence", [("--share 1.5", "--share: expected"), ("--older {resnet}", "of one shape")]
)
def test_what_cannot_be_averaged_is_told(encoders, wrong, sentence, tiny_parts, tmp_path, capsys):
    older, newer = encoders
    given = ["--older", str(older), "--newer", str(newer), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        run(lambda: average.main([*given, *wrong.format(resnet=tiny_parts.resnet_encoder).split()]))
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
