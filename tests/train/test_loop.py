"""Resume is equal to the bit, checkpoints rotate, two processes work; all with the real stage 1 script."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import stage1
import torch
import yaml
from handdiff_training.flags import argument_parser, parse, run
from handdiff_training.loop import step_generator
from safetensors.torch import load_file

from hf_handdiff.errors import InputError

TRAIN = Path(stage1.__file__).parent
TINY = (
    "--hidden_size 32 --num_blocks 1 --train_batch_size 8 --lr_warmup_steps 1 --cpu "
    "--validation_steps 1000 --validation_samples 8 --config none"
).split()


def weights(folder):
    return load_file(Path(folder) / "model" / "model.safetensors")


def assert_equal_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


@pytest.mark.parametrize(
    "extra",
    [
        ["--dataloader_num_workers", "2"],
        ["--gradient_accumulation_steps", "2", "--mixed_precision", "bf16"],
    ],
)
def test_stopped_and_resumed_is_equal_to_the_bit(tmp_path, extra):
    flags = [*TINY, *extra, "--max_train_steps", "6", "--checkpointing_steps", "3", "--report_to", "none"]
    stage1.main([*flags, "--output_dir", str(tmp_path / "whole")])
    stage1.main([*flags, "--output_dir", str(tmp_path / "first")])  # leaves checkpoint-3 and checkpoint-6
    resumed = ["--resume_from_checkpoint", str(tmp_path / "first" / "checkpoint-3")]
    stage1.main([*flags, *resumed, "--output_dir", str(tmp_path / "second")])
    assert_equal_weights(tmp_path / "whole", tmp_path / "second")
    assert not (tmp_path / "second" / "checkpoint-3").exists()  # it really started at step 3


def test_a_broken_latest_checkpoint_gives_way_to_the_one_before(tmp_path, capsys):
    flags = [*TINY, "--checkpointing_steps", "2", "--report_to", "none", "--output_dir", str(tmp_path)]
    stage1.main([*flags, "--max_train_steps", "4"])
    whole = weights(tmp_path)
    for name, damage in [
        ("custom_checkpoint_0.pkl", "cut"),
        ("optimizer.bin", "empty"),
        ("optimizer.bin", "zeros"),
        ("model.safetensors", "cut"),
        ("model.safetensors", "gone"),
    ]:
        file = tmp_path / "checkpoint-4" / name
        content = file.read_bytes()
        half = len(content) // 2
        file.write_bytes(
            {"cut": content[:half], "empty": b"", "zeros": content[:half] + bytes(half), "gone": b""}[damage]
        )
        if damage == "gone":
            file.unlink()
        stage1.main([*flags, "--max_train_steps", "4", "--resume_from_checkpoint", "latest"])
        said = capsys.readouterr().out
        assert "latest: checkpoint-4 (" in said and "checkpoint-2 before it is taken" in said, (name, damage)
        assert f"resumed from {tmp_path / 'checkpoint-2'}" in said
        for key, value in weights(tmp_path).items():
            assert torch.equal(value, whole[key])
        assert (tmp_path / "checkpoint-4").is_dir()
        shutil.rmtree(tmp_path / "broken-checkpoint-4")


def test_where_no_checkpoint_can_be_read_all_stay(tmp_path):
    flags = [*TINY, "--checkpointing_steps", "1", "--report_to", "none", "--output_dir", str(tmp_path)]
    stage1.main([*flags, "--max_train_steps", "2"])
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}" / "optimizer.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"checkpoint-2 holds no checkpoint of this training, nor do the 1 before"):
        stage1.main([*flags, "--max_train_steps", "3", "--resume_from_checkpoint", "latest"])
    assert {path.name for path in tmp_path.glob("*checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}


def test_ctrl_c_ends_a_script_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stage1.py"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            run(lambda: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130 and capsys.readouterr().err == "stage1.py: stopped by Ctrl-C\n"


def test_training_changes_weights_and_seeds_matter(tmp_path):
    flags = [*TINY, "--max_train_steps", "3", "--report_to", "none", "--no-use_ema"]
    for seed in ("0", "1"):
        stage1.main([*flags, "--seed", seed, "--output_dir", str(tmp_path / seed)])
    one, other = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_checkpoints_rotate_and_pictures_are_written(tmp_path):
    flags = [*TINY, "--max_train_steps", "4", "--checkpointing_steps", "1", "--checkpoints_total_limit", "2"]
    stage1.main([*flags, "--output_dir", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-4"]
    assert (tmp_path / "validation" / "step_0000004.png").is_file()
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))
    assert not list(tmp_path.glob("*writing*"))


def test_yaml_gives_defaults_and_flags_win(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"learning_rate": 0.25, "seed": 3}))
    args = parse(argument_parser("x", "stage1"), ["--config", str(config), "--seed", "4"])
    assert (args.learning_rate, args.seed) == (0.25, 4)
    config.write_text("lerning_rate: 1")
    with pytest.raises(SystemExit):
        parse(argument_parser("x", "stage1"), ["--config", str(config)])


def test_step_generators_are_independent():
    draws = {
        torch.randint(2**40, (), generator=step_generator(*key)).item()
        for key in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]
    }
    assert len(draws) == 4
    again = torch.randint(2**40, (), generator=step_generator(0, 1, 0)).item()
    assert again in draws


@pytest.mark.slow
def test_two_processes(tmp_path, warm):
    flags = [*TINY, "--max_train_steps", "3", "--checkpointing_steps", "3", "--report_to", "none"]
    for done in warm.run_group(2, TRAIN / "stage1.py", *flags, "--output_dir", tmp_path):
        assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert len(list((tmp_path / "checkpoint-3").glob("random_states_*"))) == 2
