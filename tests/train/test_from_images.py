"""Stage 2 trained from images: the encoder in the loop, frozen or learning, by the real script on tiny networks."""

import math
from functools import partialmethod

import assemble
import encode_corpus
import numpy as np
import pytest
import stage2
import torch
from datasets import load_dataset
from handdiff_training import loop
from handdiff_training.encoder_loss import LossWeights, encoder_loss, seen_in_squares
from handdiff_training.encoding import framing_of
from handdiff_training.flags import run
from handdiff_training.image_batches import CorpusBatches
from handdiff_training.loop import step_generator
from safetensors.torch import load_file
from training_parts import assert_close_weights, stage2_flags, stage2_task, tiny_encoder
from untrained import randomize_zero_layers

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.data.augmentation import augment_batch, crop_batch
from hf_handdiff.errors import InputError
from hf_handdiff.models import MeshLatentDenoiser
from hf_handdiff.models.hand_framing import HandFrame

TINY = (
    "--hidden_size 32 --num_blocks 1 --train_batch_size 4 --lr_warmup_steps 0 --lr_scheduler constant --cpu "
    "--report_to none --validation_steps 1000 --validation_samples 2 --config none --checkpointing_steps 1000"
).split()


def train(parts, output, *more, learning=True, encoder="encoder"):
    """A short training; the weights of the denoiser and of the encoder."""
    flags = [*TINY, *stage2_flags(parts, learning, encoder), "--output_dir", str(output), *more]
    figures = stage2.main(flags)
    assert all(map(math.isfinite, figures.values()))
    return weights(output)


def weights(output) -> dict[str, dict[str, torch.Tensor]]:
    return {path.parent.name: load_file(path) for path in sorted(output.glob("[mi]*/model.safetensors"))}


def test_a_frozen_encoder_in_the_loop_sees_what_the_cache_holds(tiny_parts):
    """Up to the half precision of the cache: the same hands, in the same crops, by the same networks."""
    from_images, cached = (stage2_task(tiny_parts, TINY, learning) for learning in (False, None))
    with torch.no_grad():
        one, other = (task.validate(task.model)[0] for task in (from_images, cached))
    assert one == pytest.approx(other, rel=2e-3)
    seen, kept = from_images._unseen_conditions("cpu"), cached._unseen_conditions("cpu")
    torch.testing.assert_close(seen.joints, kept.joints)
    torch.testing.assert_close(seen.image.point_features, kept.image.point_features, atol=1e-2, rtol=1e-2)


def test_what_stage_2_learns_reaches_the_encoder_by_features_and_3d_points_alone(tiny_parts):
    task = stage2_task(tiny_parts, [*TINY, "--encoder_loss_weight", "0"], True)
    randomize_zero_layers(task.denoiser, 0.1)
    task.model.train()
    generator = step_generator(0, 0, 0)
    loss, _ = task.loss(task.model, task.batch(4, generator), generator)
    loss.backward()
    reached = {name.split(".")[0] for name, p in task.encoder.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"backbone", "fusion", "global_projection", "global_norm", "world_head", "world_correction"} == reached


def test_its_own_loss_keeps_the_keypoints(tiny_parts):
    task = stage2_task(tiny_parts, [*TINY, "--encoder_loss_weight", "1"], True)
    generator = step_generator(0, 0, 0)
    loss, figures = task.loss(task.model.train(), task.batch(4, generator), generator)
    loss.backward()
    learning = {name.split(".")[0] for name, p in task.encoder.named_parameters() if p.grad is not None}
    assert {"landmark_head", "heatmap_out", "score_head"} < learning
    assert not learning & {"framing", "presence_head", "distribution_head"}
    assert figures["encoder_keypoints"] > 0


def test_labels_are_carried_into_the_squares_that_the_encoder_chose(tiny_parts):
    encoder = tiny_encoder("resnet").eval()
    rows = CorpusBatches(tiny_parts.corpus, "train").rows(range(6))
    batch = augment_batch(rows, torch.Generator().manual_seed(0), framing_of(encoder))
    frame = HandFrame(0.4 + 0.2 * torch.rand(6, 2), 0.6 + 0.4 * torch.rand(6), torch.rand(6) - 0.5)
    size = batch["pixel_values"].shape[-1]
    with torch.no_grad():
        found, terms = encoder_loss(*seen_in_squares(encoder(batch["pixel_values"], frame=frame), batch), LossWeights())
        framed = {**batch, "image": batch["pixel_values"], "keypoints_2d_px": size * batch["keypoints"]}
        labels = crop_batch(framed, size * frame.centre, size * frame.side, frame.angle, size)
        pixels = frame.crop(batch["pixel_values"])
        truth = {"has_hand": batch["has_hand"], **labels, "pixel_values": pixels}
        expected, wanted = encoder_loss(encoder(pixels, framed=True), truth, LossWeights())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(terms, wanted)


@pytest.mark.parametrize("encoder", ["encoder", "resnet_encoder"])
def test_both_networks_are_trained_and_make_a_cascade(tiny_parts, tmp_path, encoder):
    trained = train(tiny_parts, tmp_path / "run", "--max_train_steps", "2", encoder=encoder)
    before = load_file(getattr(tiny_parts, encoder) / "model.safetensors")
    changed = {name for name, value in trained["image_encoder"].items() if not torch.equal(value, before[name])}
    assert changed and {name.split(".")[0] for name in changed}.isdisjoint({"framing", "distribution_head"})
    assert not any("running" in name or "num_batches" in name for name in changed)
    parts = [
        ("image_encoder", tmp_path / "run" / "image_encoder"),
        ("mesh_latent_denoiser", tmp_path / "run" / "model"),
        ("joint_denoiser", tiny_parts.stage1),
        ("mesh_autoencoder", tiny_parts.autoencoder),
        ("out", tmp_path / "cascade"),
    ]
    assemble.main([word for name, path in parts for word in (f"--{name}", str(path))])
    pipeline = CascadedHandPipeline.from_pretrained(tmp_path / "cascade")
    pipeline.set_progress_bar_config(disable=True)
    image = CorpusBatches(tiny_parts.corpus, "validation").rows([0])["image"][0].permute(1, 2, 0).numpy()
    answer = pipeline(image, num_hypotheses=2, num_inference_steps=2, num_mesh_inference_steps=2, generator=0)
    assert answer.mean_vertices.shape == (1, 778, 3)


@pytest.mark.slow
def test_stopped_and_resumed_both_are_equal_to_the_bit(tiny_parts, tmp_path):
    flags = ["--max_train_steps", "4", "--checkpointing_steps", "2", "--dataloader_num_workers", "1"]
    flags += ["--gradient_checkpointing", "--mixed_precision", "bf16"]
    whole = train(tiny_parts, tmp_path / "whole", *flags)
    resumed = ["--resume_from_checkpoint", str(tmp_path / "whole" / "checkpoint-2")]
    again = train(tiny_parts, tmp_path / "again", *flags, *resumed)
    assert whole.keys() == again.keys() == {"model", "image_encoder"}
    for name in whole:
        assert_close_weights(whole[name], again[name], atol=0)
    assert not (tmp_path / "again" / "checkpoint-2").exists()


def test_gradient_checkpointing_forgets_and_changes_nothing(tiny_parts):
    kept, gradients = [], []
    for more in ([], ["--gradient_checkpointing"]):
        task = stage2_task(tiny_parts, [*TINY, *more], True)
        generator, saved = step_generator(0, 0, 0), []
        batch = task.batch(4, generator)
        with torch.autograd.graph.saved_tensors_hooks(lambda value, saved=saved: saved.append(value) or value, _same):
            loss, _ = task.loss(task.model.train(), batch, generator)
        loss.backward()
        kept.append(len(saved))
        gradients.append({name: p.grad for name, p in task.model.named_parameters() if p.grad is not None})
    assert kept[1] < kept[0] - 10
    assert_close_weights(*gradients, atol=1e-5)


def _same(value):
    return value


@pytest.mark.slow
def test_compiled_it_saves_under_the_same_names(tiny_parts, tmp_path, monkeypatch):
    """By dynamo alone: what inductor makes of the graphs takes long."""
    plain = train(tiny_parts, tmp_path / "plain", "--max_train_steps", "1")
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="eager"))
    torch._dynamo.reset()
    compiled = train(tiny_parts, tmp_path / "compiled", "--max_train_steps", "1", "--torch_compile")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    for name in plain:
        assert_close_weights(plain[name], compiled[name], atol=1e-5)


class BothRanks(stage2.Stage2Task):
    """One process with the batches of two."""

    def loss(self, model, batch, generator):
        parts = []
        for half, state in batch:
            parts.append(super().loss(model, half, torch.Generator().set_state(state)))
        return sum(loss for loss, _ in parts) / 2, parts[0][1]


OneRank = loop.StepBatches


class BatchesOfBothRanks(OneRank):
    """What two processes draw in a step."""

    def __getitem__(self, micro_step):
        ranks = [OneRank(self.task, self.batch_size, self.seed, rank)[micro_step] for rank in (0, 1)]
        return ranks, ranks[0][1]


@pytest.mark.slow
def test_two_processes_are_one_with_the_double_batch(tiny_parts, tmp_path, warm, monkeypatch):
    """With a backbone that has a parameter which its maps do not depend on, and heads that nothing supervises."""
    flags = [*TINY, *stage2_flags(tiny_parts, True), "--max_train_steps", "3", "--encoder_loss_weight", "0"]
    flags += ["--no-use_ema", "--learning_rate", "1e-3"]
    for done in warm.run_group(2, stage2.__file__, *flags, "--output_dir", tmp_path / "two"):
        assert done.returncode == 0, done.stderr[-2000:]
    monkeypatch.setattr(loop, "StepBatches", BatchesOfBothRanks)
    args = stage2.parse_flags([*flags, "--output_dir", str(tmp_path / "one")])
    torch.manual_seed(args.seed)
    loop.train(BothRanks(args), args)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    start = load_file(tiny_parts.encoder / "model.safetensors")
    moved = max((two["image_encoder"][name] - value).abs().max().item() for name, value in start.items())
    assert moved > 1e-3
    for name in one:
        assert_close_weights(one[name], two[name], atol=2e-5)


def test_a_loss_that_is_not_finite_is_told_before_anything_is_saved(tiny_parts, tmp_path):
    flags = [*TINY, *stage2_flags(tiny_parts, None), "--output_dir", str(tmp_path), "--checkpointing_steps", "2"]
    with pytest.raises(FloatingPointError, match="the loss is (nan|inf); lower --learning_rate"):
        stage2.main([*flags, "--max_train_steps", "4", "--learning_rate", "1e30", "--max_grad_norm", "1e30"])
    assert not list(tmp_path.glob("checkpoint-*")) and not (tmp_path / "model").exists()


def test_networks_of_other_sizes_are_refused(tiny_parts, tmp_path):
    MeshLatentDenoiser(stage2.MeshLatentDenoiserConfig(hidden_size=16, num_blocks=1)).save_pretrained(tmp_path)
    flags = ["--config", "none", "--init_from", str(tmp_path)]
    for learning in (False, None):
        with pytest.raises(InputError, match=r"--init_from: expected a network that reads .* \(16, 24\)"):
            stage2_task(tiny_parts, flags, learning)


WRONG = [
    ("--conditions c", "--corpus: trains from images in place of --conditions"),
    ("--corpus none", "--conditions or --corpus is needed"),
    ("--encoder_learning_rate -1", "--encoder_learning_rate: expected 0 or more, got -1.0"),
    ("--encoder_loss_weight nan", "--encoder_loss_weight: expected 0 or more, got nan"),
    ("--corpus none --conditions c --encoder_learning_rate 1", "--encoder_learning_rate: expected with --corpus alone"),
    ("--gradient_checkpointing", "--gradient_checkpointing: expected with an encoder that learns"),
    ("--synthetic_share 1", "--synthetic_share: expected room for images"),
]


@pytest.mark.parametrize("flags, sentence", WRONG, ids=[flags for flags, _ in WRONG])
def test_flags_that_do_not_go_together_are_one_sentence(flags, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        run(lambda: stage2.main(["--config", "none", "--corpus", "c", *flags.split()]))
    assert ended.value.code == 2 and sentence in capsys.readouterr().err


def test_a_backbone_that_cannot_be_checkpointed_is_refused(tiny_parts):
    with pytest.raises(InputError, match="--gradient_checkpointing: expected a backbone .* got ResNetBackbone"):
        stage2_task(tiny_parts, [*TINY, "--gradient_checkpointing"], True, "resnet_encoder")


def test_images_without_a_hand_are_left_out(tiny_parts):
    task = stage2_task(tiny_parts, TINY, False)
    rows = {int(row) for seed in range(5) for row in task.batch(8, step_generator(seed, 0, 0)).row}
    has_hand = CorpusBatches(tiny_parts.corpus, "train").column("has_hand")
    assert not all(has_hand) and all(has_hand[row] for row in rows)


def test_a_corpus_without_meshes_is_refused(tiny_parts, tmp_path):
    """Before training, and while the cache is made; not by a loss that is not a number."""
    rows = load_dataset(str(tiny_parts.corpus), split="train")
    nothing = np.full((778, 3), np.nan, np.float32)
    rows = rows.map(lambda row: {"vertices_m": nothing}, features=rows.features, load_from_cache_file=False)
    for split in ("train", "validation"):
        rows.to_parquet(tmp_path / "corpus" / f"{split}-00000-of-00001.parquet")
    flags = [*TINY, *stage2_flags(tiny_parts, False), "--corpus", str(tmp_path / "corpus")]
    for make in (
        lambda: stage2.main([*flags, "--output_dir", str(tmp_path / "run")]),
        lambda: encode_corpus.main(["--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path / "out")]),
    ):
        with pytest.raises(InputError, match=r"--corpus: expected a mesh .* of every hand, got none in row \d"):
            make()
