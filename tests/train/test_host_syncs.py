"""A training step asks a GPU for much and waits for nothing: counted on the meta device, with the real tasks."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from handdiff_training import loop
from host_syncs import DEVICE, counted
from training_parts import stage2_task

from hf_handdiff.models import JointDenoiser, JointDenoiserConfig
from hf_handdiff.pipelines.sampling import sample_joints
from hf_handdiff.pipelines.schedulers import default_scheduler

TINY = "--hidden_size 32 --num_blocks 1 --cpu --config none --train_batch_size 4 --validation_samples 2".split()


def steps(task, micro_steps=2):
    """What waits in a whole optimiser step of a task whose networks are on the device."""
    args = SimpleNamespace(gradient_accumulation_steps=micro_steps, max_grad_norm=1.0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=micro_steps)
    batches = loop.StepBatches(task, 4, 0, 0)
    loader = iter([batches[number] for number in range(2 * micro_steps)])
    task.model.to(DEVICE)
    optimizer = accelerator.prepare_optimizer(torch.optim.AdamW(task.parameter_groups(1e-3)), device_placement=False)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer.optimizer)
    watch = loop._LossWatch(DEVICE)
    for _ in range(2):  # the first also moves what is frozen
        with counted() as found:
            figures = loop._optimiser_step(task, task.model, optimizer, schedule, accelerator, args, loader, watch)
    assert all(value.device.type == DEVICE and value.ndim == 0 for value in figures.values())
    return found


def test_the_counter_sees_what_waits():
    there = torch.zeros(3, 3, device=DEVICE)
    waits = [
        lambda: there.sum().item(),
        lambda: there.cpu(),
        lambda: torch.zeros(3).to(DEVICE),
        lambda: there.new_tensor([1.0]),
        lambda: torch.tensor([1.0], device=DEVICE),
        lambda: there[[0, 2]],
        lambda: there[torch.tensor([0, 2])],
        lambda: torch.linalg.inv(there),
        lambda: bool((there > 0).all()),
    ]
    for number, wait in enumerate(waits):
        with counted() as found:
            wait()
        assert len(found) == 1, number
    with counted() as found:
        torch.zeros(3).to(DEVICE, non_blocking=True) + there[1:].new_full((), 2.0)
    assert found == []


def test_denoising_waits_for_nothing():
    network = JointDenoiser(JointDenoiserConfig(hidden_size=16, num_blocks=1, consistency=True)).to(DEVICE)
    noise, points = torch.randn(2, 3, 21, 3), torch.randn(2, 21, 2)
    with counted() as found:
        joints = sample_joints(network, default_scheduler(), noise, points, torch.ones(2, 21), torch.ones(2), 5, 1.5)
    assert found == [] and joints.device.type == DEVICE and joints.shape == (2, 3, 21, 3)


@pytest.mark.parametrize("learning", [False, True, None], ids=["frozen", "learning", "cached"])
def test_a_step_of_stage_2_waits_for_nothing(tiny_parts, learning):
    assert steps(stage2_task(tiny_parts, TINY, learning)) == []


def test_a_step_of_the_other_trainings_waits_for_nothing(tiny_parts, monkeypatch):
    import autoencoder
    import hand_framing
    import image_encoder
    import stage1

    images = ["--config", "none", "--corpus", tiny_parts.corpus]
    for module, flags in (
        (stage1, TINY),
        (autoencoder, ["--config", "none", "--principal_component_samples", "200"]),
        (image_encoder, [*images, "--initial", tiny_parts.encoder]),
        (hand_framing, [*images, "--image_encoder", tiny_parts.encoder]),
    ):
        tasks = []
        monkeypatch.setattr(module, "train", lambda task, args, tasks=tasks: tasks.append(task))
        module.main([*map(str, flags)])
        assert steps(tasks[0]) == [], module.__name__
