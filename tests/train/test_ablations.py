"""The ablations: equal budgets, variants that are what they say, and tables that come from the scores."""

import json
from pathlib import Path

import pytest
import stage1
import stage2
import torch
from ablations import ablate
from ablations import table as ablation_table
from ablations.models import MeshRegressor
from handdiff_training.conditions import ConditionData, Conditions, write_conditions
from handdiff_training.joint_sources import JOINT_SOURCES, JointSource
from handdiff_training.posed_hands import PosedHands
from handdiff_training.synthetic_views import synthetic_views

from hf_handdiff.hand import HandLayer
from hf_handdiff.models import (
    JointDenoiser,
    JointDenoiserConfig,
    MeshAutoencoder,
    MeshLatentDenoiser,
    MeshLatentDenoiserConfig,
)
from hf_handdiff.pipelines.sampling import empty_conditions

pytestmark = pytest.mark.slow
REALISTIC = Path(__file__).parents[2] / "data" / "realistic_test"
TINY = "--hidden_size 32 --num_blocks 1 --validation_samples 3 --train_batch_size 8 --cpu --report_to none".split()
FEW = [*TINY, "--max_train_steps", "2", "--mixed_precision", "no"]


def synthetic_conditions(count, seed):
    hands = PosedHands(HandLayer.open_hand())
    views = synthetic_views(hands, count, torch.Generator().manual_seed(seed), with_vertices=True)
    image = empty_conditions(MeshLatentDenoiserConfig(), count)
    image.keypoints, image.keypoint_scores, image.view_scale = views.view.points, views.view.scores, views.view.scale
    return Conditions(image, views.joints, views.vertices, views.view.scores > 0.5)


@pytest.fixture(scope="module")
def parts(tmp_path_factory, distribution_pipeline):
    """Conditions, an autoencoder, a stage 1 and an image encoder."""
    folder = tmp_path_factory.mktemp("parts")
    for split, seed in (("train", 1), ("validation", 2)):
        with write_conditions(folder / "conditions", split) as writer:
            writer.add(synthetic_conditions(12, seed))
    torch.manual_seed(0)
    autoencoder = MeshAutoencoder(MeshAutoencoder.config_class())
    hand = HandLayer.open_hand()
    autoencoder.joint_regressor.copy_(hand.mesh_to_joints)
    autoencoder.faces.copy_(hand.faces)
    autoencoder.save_pretrained(folder / "autoencoder")
    JointDenoiser(JointDenoiserConfig(hidden_size=32, num_blocks=1)).save_pretrained(folder / "stage1")
    distribution_pipeline.image_encoder.save_pretrained(folder / "encoder")
    return folder


def ablate_flags(parts, out, *more):
    places = {"conditions": "conditions", "estimates": "conditions", "mesh_autoencoder": "autoencoder"}
    places["image_encoder"] = "encoder"
    flags = [word for name, folder in places.items() for word in (f"--{name}", str(parts / folder))]
    flags += ["--out", str(out), "--score_samples", "2", "--score_on", f"photos={REALISTIC}:test"]
    return [*flags, "--seeds", "0", "--num_hypotheses", "3", *more, "--", *FEW]


@pytest.fixture(scope="module")
def runs(parts, tmp_path_factory):
    """All variants, two steps each, scored."""
    out = tmp_path_factory.mktemp("ablations")
    ablate.main(ablate_flags(parts, out, "--do", "train", "score"))
    return out


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameter_budgets_agree():
    def flags(name):
        return stage2.parse_flags(["--config", str(ablate.CONFIGS / f"{name}.yaml")])

    def network(name):
        args = flags(name)
        tokens, channels = (778, 3) if args.space == "vertices" else (24, 4)
        config = MeshLatentDenoiserConfig(
            hidden_size=args.hidden_size, num_blocks=args.num_blocks, latent_tokens=tokens, latent_channels=channels
        )
        return (MeshRegressor if args.deterministic else MeshLatentDenoiser)(config)

    stage1_count = count(JointDenoiser(JointDenoiserConfig()))
    whole = stage1_count + count(network("cascade"))
    for name in ablate.VARIANTS:
        args = flags(name)
        single = args.joint_source == "none"
        assert count(network(name)) + (0 if single else stage1_count) == pytest.approx(whole, rel=0.03), name
        assert args.start == "scratch"
        assert args.max_train_steps == 1600 * (1 + single)
        assert single == (name in ablate.WITHOUT_JOINTS)
        same = "train_batch_size learning_rate ema_decay adam_weight_decay synthetic_share true_joints_share".split()
        assert all(getattr(args, key) == getattr(flags("cascade"), key) for key in same)
    assert {flags(name).joint_source for name in ablate.VARIANTS} == set(JOINT_SOURCES)


def test_sources_do_what_they_say(parts):
    stage1_model = JointDenoiser.from_pretrained(parts / "stage1").eval()
    cache = ConditionData(parts / "conditions", "train")
    conditions = cache.first(12)

    def joints(kind, generator_seed, batch=conditions):
        source = JointSource(kind, stage1_model, 2, 0.0, num_rows=len(cache), seed=5)
        if kind == "noised_truth":
            source.measure_errors(conditions, torch.Generator().manual_seed(0))
        return source(batch, torch.Generator().manual_seed(generator_seed), "cpu")

    assert not torch.allclose(joints("fresh", 1), joints("fresh", 2), atol=1e-3)
    torch.testing.assert_close(joints("one_sample", 1), joints("one_sample", 2))
    other_batch = cache.rows(torch.tensor([3, 7]).numpy())
    torch.testing.assert_close(joints("one_sample", 3, other_batch), joints("one_sample", 1)[[3, 7]])
    assert torch.equal(joints("truth", 1), conditions.joints)
    assert joints("none", 1).abs().max() == 0
    noise, error = joints("noised_truth", 1) - conditions.joints, joints("fresh", 1) - conditions.joints
    assert noise[:, 0].abs().max() == 0
    assert noise.square().mean().item() == pytest.approx(error.square().mean().item(), rel=0.3)


@pytest.mark.parametrize("kind", JOINT_SOURCES)
def test_what_is_drawn_later_does_not_depend_on_the_source(parts, kind):
    stage1_model = JointDenoiser.from_pretrained(parts / "stage1").eval()
    conditions = ConditionData(parts / "conditions", "train").first(4)
    generator, reference = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    JointSource(kind, stage1_model, 2, 0.1, 12, 0)(conditions, generator, "cpu")
    JointSource("fresh", stage1_model, 2, 0.1, 12, 0)(conditions, reference, "cpu")
    assert torch.equal(generator.get_state(), reference.get_state())


@pytest.mark.parametrize("name", ablate.VARIANTS)
def test_every_variant_trains_and_scores(runs, name):
    scores = json.loads((runs / f"{name}-seed0" / "scores.json").read_text())
    results = scores["sets"]["photos"]
    assert results["num_samples"] == 2 and results["num_failed"] == 0
    assert results["accuracy"]["pa_mpvpe_mm"] > 0
    single = name in ablate.WITHOUT_JOINTS
    assert (scores["parameters"]["stage1"] == 0) == single
    assert (results["distribution"]["stage1"] is None) == single
    assert (results["distribution"]["stage2"]["spread_mm"] is None) == (name == "deterministic")


def test_one_variant_alone_has_a_stage_1_without_rays(runs):
    used = {
        name: JointDenoiser.from_pretrained(runs / f"{name}-seed0" / "model").config
        for name in ("stage1", "stage1_free")
    }
    assert used["stage1"].consistency and not used["stage1_free"].consistency
    scores = {name: (runs / f"{name}-seed0" / "scores.json").read_text() for name in ("cascade", "no_consistency")}
    spread = {
        name: json.loads(text)["sets"]["photos"]["distribution"]["stage1"]["spread_mm"] for name, text in scores.items()
    }
    assert spread["cascade"] != spread["no_consistency"]


def test_a_second_command_finds_nothing_to_do(parts, runs, monkeypatch):
    def refuse(argv=None):
        raise AssertionError("trained again")

    monkeypatch.setattr(stage1, "main", refuse)
    monkeypatch.setattr(stage2, "main", refuse)
    ablate.main(ablate_flags(parts, runs, "--do", "train", "score"))


@pytest.mark.parametrize("name", ["one_sample", "noised_truth", "deterministic"])
def test_a_variant_resumes_to_the_bit(parts, runs, tmp_path, name):
    flags = ["--config", str(ablate.CONFIGS / f"{name}.yaml"), "--conditions", str(parts / "conditions"), *FEW]
    flags += ["--joint_denoiser", str(parts / "stage1"), "--mesh_autoencoder", str(parts / "autoencoder")]
    flags += ["--lr_scheduler", "constant", "--checkpointing_steps", "1", "--checkpoints_total_limit", "9"]
    stage2.main([*flags, "--output_dir", str(tmp_path / "whole")])
    first = str(tmp_path / "whole" / "checkpoint-1")
    stage2.main([*flags, "--output_dir", str(tmp_path / "resumed"), "--resume_from_checkpoint", first])
    network = MeshRegressor if name == "deterministic" else MeshLatentDenoiser
    whole, resumed = (network.from_pretrained(tmp_path / run / "model").state_dict() for run in ("whole", "resumed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_regressor_that_is_given_joints_is_refused(capsys):
    with pytest.raises(SystemExit):
        stage2.parse_flags(["--deterministic"])
    assert "--joint_source none --start scratch" in capsys.readouterr().err


def test_the_table_has_a_row_for_each_variant_and_its_figures(runs, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- ablations:begin -->\nold\n<!-- ablations:end -->\nafter\n")
    ablation_table.main(["--runs", str(runs), "--into", str(page)])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    for name in ablate.VARIANTS:
        scores = json.loads((runs / f"{name}-seed0" / "scores.json").read_text())
        accuracy = scores["sets"]["photos"]["accuracy"]
        (row,) = [line for line in text.splitlines() if f"--only {name} --seeds 0`" in line]
        assert f" {accuracy['pa_mpjpe_mm']:.2f} " in row and f" {accuracy['pa_mpvpe_mm']:.2f} " in row


def test_seeds_give_mean_and_half_range():
    assert ablation_table.over_seeds([1.0, 2.0]) == "1.50 ± 0.50"
    assert ablation_table.over_seeds([1.0]) == "1.00"
    assert ablation_table.over_seeds([None, None]) == "-"
