"""A new encoder on a backbone of transformers, by the real scripts: from weights or from a config.json alone."""

import math
from pathlib import Path

import hand_framing
import image_encoder
import keypoint_distribution
import pytest
import torch
from handdiff_training.backbones import encoder_on_backbone
from handdiff_training.flags import run
from training_parts import BACKBONES, SIZE
from transformers import AutoBackbone, BertConfig, Dinov2Backbone, ViTConfig

import hf_handdiff
from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder

SHORT = (
    "--config none --max_train_steps 2 --train_batch_size 4 --lr_warmup_steps 1 --cpu --report_to none "
    "--validation_steps 9 --num_validation_images 4"
).split()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of each backbone one with weights, and one with its config.json alone."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("backbones")
    for name, config in BACKBONES.items():
        AutoBackbone.from_config(config).save_pretrained(root / name)
        config.save_pretrained(root / f"{name}_config")
    return root


def test_weights_are_taken_over_or_random_and_the_framing_is_the_bundled_one(folders):
    saved = Dinov2Backbone.from_pretrained(folders / "dinov2").state_dict()
    taken = encoder_on_backbone(str(folders / "dinov2"), None, SIZE)
    assert all(torch.equal(value, saved[name]) for name, value in taken.backbone.model.state_dict().items())
    random = encoder_on_backbone(str(folders / "dinov2_config"), None, 224)
    assert not all(torch.equal(value, saved[name]) for name, value in random.backbone.model.state_dict().items())
    bundled = HandImageEncoder.from_pretrained(Path(hf_handdiff.DEFAULT_CHECKPOINT) / "image_encoder").framing
    for name, value in bundled.state_dict().items():
        assert torch.equal(random.framing.state_dict()[name], value)
    for name, value in bundled.trunk.state_dict().items():  # what follows it is of another size
        assert torch.equal(taken.framing.trunk.state_dict()[name], value)
    assert taken.config.image_size == SIZE and random.config.image_size == 224


@pytest.mark.parametrize(
    "name, levels, features",
    [
        ("resnet", None, ("stage2", "stage3")),
        ("resnet", ["stage1", "stage4"], ("stage1", "stage4")),
        ("resnet_config", ["1", "3"], ("stage1", "stage3")),
        ("dinov2", ["2"], ("stage2",)),
    ],
)
def test_levels_are_chosen_by_name_or_number(folders, name, levels, features):
    encoder = encoder_on_backbone(str(folders / name), levels, SIZE)
    assert encoder.backbone.out_features == features == tuple(encoder.config.backbone_config.out_features)


def test_an_encoder_is_trained_framed_and_told_of_its_noise(folders, tiny_parts, tmp_path):
    """The three scripts, in crops of the encoder's size; stage 2 goes on from there (test_from_images.py)."""
    corpus = ["--corpus", str(tiny_parts.corpus)]
    start = ["--backbone", str(folders / "dinov2"), "--backbone_levels", "1", "2", "--image_size", str(SIZE)]
    more = ["--gradient_checkpointing", "--output_dir", str(tmp_path / "encoder")]
    figures = image_encoder.main([*SHORT, *corpus, *start, *more])
    assert all(map(math.isfinite, figures.values()))
    folder = tmp_path / "encoder" / "model"
    before = Dinov2Backbone.from_pretrained(folders / "dinov2").state_dict()
    after = HandImageEncoder.from_pretrained(folder).backbone.model.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    for script, more in ((hand_framing, []), (keypoint_distribution, ["--num_samples", "8"])):
        out = tmp_path / script.__name__
        script.main([*SHORT, *corpus, "--image_encoder", str(folder), *more, "--output_dir", str(out)])
        folder = out / "model"
    assert HandImageEncoder.from_pretrained(folder).config.keypoint_factors == 6


def test_several_processes_are_told_of_parameters_that_no_map_depends_on(folders, tiny_parts, monkeypatch):
    tasks = []
    monkeypatch.setattr(image_encoder, "train", lambda task, args: tasks.append(task))
    corpus = ["--config", "none", "--corpus", str(tiny_parts.corpus)]
    image_encoder.main([*corpus, "--backbone", str(folders / "resnet"), "--image_size", str(SIZE)])
    image_encoder.main([*corpus, "--initial", "bundled"])
    assert [task.may_leave_parameters_unused for task in tasks] == [True, False]


WRONG = [
    ("--backbone {root}/dinov2 --initial bundled", "--backbone: makes a new encoder in place of --initial"),
    ("", "--initial or --backbone is needed"),
    ("--initial bundled --image_size 256", "--image_size: expected with --backbone"),
    ("--initial bundled --backbone_levels 1", "--backbone_levels: expected with --backbone"),
    ("--initial bundled --gradient_checkpointing", "--gradient_checkpointing: expected a backbone of transformers"),
    ("--backbone {root}/resnet --gradient_checkpointing", "that supports it, got ResNetBackbone"),
    ("--backbone {root}/nothing", "which is not there"),
    ("--backbone {root}", "a folder without a config.json"),
    ("--backbone {root}/bert", "--backbone: expected that of an AutoBackbone, got BertConfig"),
    ("--backbone {root}/foreign", "cannot be used: its weights are not those of a Dinov2Backbone"),
    ("--backbone {root}/dinov2 --backbone_levels stage9", "with --backbone_levels stage9 cannot be used"),
    ("--backbone {root}/dinov2 --backbone_levels 9", "with --backbone_levels 9 cannot be used"),
    ("--backbone {root}/dinov2 --image_size 100", "--image_size 100: image_size must be a positive multiple of 32"),
]


@pytest.mark.parametrize("flags, sentence", WRONG, ids=[flags for flags, _ in WRONG])
def test_a_wrong_start_is_one_sentence(folders, tiny_parts, flags, sentence, capsys):
    BertConfig().save_pretrained(folders / "bert")
    if not (folders / "foreign").exists():
        BACKBONES["dinov2"].save_pretrained(folders / "foreign")
        weights = folders / "resnet" / "model.safetensors"
        (folders / "foreign" / "model.safetensors").write_bytes(weights.read_bytes())
    given = [*SHORT, "--corpus", str(tiny_parts.corpus), *flags.format(root=folders).split()]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(lambda: image_encoder.main(given))
    said = [line for line in capsys.readouterr().err.splitlines() if sentence in line]
    assert ended.value.code == 2 and len(said) == 1


def test_a_plain_transformer_is_no_backbone(tmp_path):
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="--backbone: expected that of an AutoBackbone, got ViTConfig"):
        encoder_on_backbone(str(tmp_path), None, 224)
