"""What diffusers' users expect of a pipeline: schedulers, settings that travel, own noise, offload."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, LCMScheduler
from diffusers import UniPCMultistepScheduler as UniPC

import hf_handdiff
from hf_handdiff import CascadedHandPipeline, JointDiffusionPipeline
from hf_handdiff.errors import InputError
from hf_handdiff.pipelines.schedulers import check_scheduler, default_scheduler


@pytest.fixture()
def pipeline(tiny_pipeline):
    """The tiny cascade, with schedulers of its own to swap."""
    return CascadedHandPipeline(**tiny_pipeline.components)


def swapped(pipeline, scheduler_class, **changes):
    for name in ("joint_scheduler", "mesh_scheduler"):
        setattr(pipeline, name, scheduler_class.from_config(getattr(pipeline, name).config, **changes))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


SCHEDULERS = [
    (DDIMScheduler, {}),
    (DDIMScheduler, {"timestep_spacing": "leading"}),
    (DDPMScheduler, {}),
    (DPMSolverMultistepScheduler, {}),
    (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    (UniPC, {}),
    (EulerDiscreteScheduler, {}),
    (LCMScheduler, {}),
]


@pytest.mark.parametrize(("scheduler_class", "changes"), SCHEDULERS)
def test_hypotheses_do_not_depend_on_each_other_with_any_scheduler(pipeline, photo, scheduler_class, changes):
    swapped(pipeline, scheduler_class, **changes)
    few = pipeline(photo, num_hypotheses=2, generator=5, num_inference_steps=6)
    many = pipeline([photo, photo[::-1].copy()], num_hypotheses=4, generator=5, num_inference_steps=6)
    assert np.isfinite(few.vertices).all()
    np.testing.assert_allclose(few.joints[0], many.joints[0, :2], atol=2e-6)
    assert np.abs(many.joints[0, 2] - many.joints[0, 0]).max() > 1e-4


@pytest.mark.parametrize(
    ("scheduler_class", "changes"),
    [
        (diffusers.HeunDiscreteScheduler, {}),
        (diffusers.EulerAncestralDiscreteScheduler, {}),
        (diffusers.PNDMScheduler, {}),
        (diffusers.FlowMatchEulerDiscreteScheduler, {}),
        (DDIMScheduler, {"prediction_type": "epsilon"}),
        (DDIMScheduler, {"clip_sample": True}),
        (DDIMScheduler, {"beta_schedule": "linear"}),
    ],
)
def test_a_scheduler_that_would_sample_wrongly_is_refused_in_one_sentence(pipeline, photo, scheduler_class, changes):
    try:
        swapped(pipeline, scheduler_class, **changes)
    except ValueError:  # diffusers itself refuses the configuration
        return
    with pytest.raises(InputError, match=f"joint_scheduler: expected .*{scheduler_class.__name__}"):
        pipeline(photo, num_hypotheses=1, generator=0)


def test_what_is_no_scheduler_is_refused():
    with pytest.raises(InputError, match="mesh_scheduler: expected a diffusers scheduler, got str"):
        check_scheduler("ddim", "mesh_scheduler")


def test_a_call_leaves_the_schedulers_alone(tiny_pipeline, photo):
    before = {k: str(v) for k, v in vars(tiny_pipeline.joint_scheduler).items()}
    tiny_pipeline(photo, num_hypotheses=1, generator=0, num_inference_steps=7)
    assert {k: str(v) for k, v in vars(tiny_pipeline.joint_scheduler).items()} == before


# ------------------------------------------------------------------------------------------------ settings that travel


@pytest.fixture(scope="module")
def bundled():
    pipeline = CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    "copy_of",
    [
        lambda pipe: CascadedHandPipeline(**pipe.components),
        lambda pipe: CascadedHandPipeline(**pipe.components, **pipe.parameters),
        lambda pipe: CascadedHandPipeline.from_pipe(pipe),
        lambda pipe: CascadedHandPipeline.from_pipe(JointDiffusionPipeline.from_pipe(pipe), **mesh_parts(pipe)),
    ],
    ids=["components", "components and parameters", "from_pipe", "there and back"],
)
def test_steps_noise_scale_and_calibration_travel_with_the_components(bundled, photo, copy_of):
    again = copy_of(bundled)
    again.set_progress_bar_config(disable=True)
    one, other = (pipe(photo, num_hypotheses=3, generator=1) for pipe in (bundled, again))
    np.testing.assert_array_equal(one.joints, other.joints)
    np.testing.assert_array_equal(one.joint_std, other.joint_std)
    assert one.joint_std_calibrated and other.joint_std_calibrated


def mesh_parts(pipe):
    names = ("mesh_autoencoder", "mesh_latent_denoiser", "mesh_scheduler")
    return {name: getattr(pipe, name) for name in names}


def test_a_calibration_belongs_to_how_it_was_sampled(bundled, photo):
    def calibrated(**options):
        return bundled(photo, num_hypotheses=2, generator=1, **options).joint_std_calibrated

    assert calibrated() and calibrated(num_inference_steps=bundled.config.num_inference_steps)
    assert not calibrated(num_inference_steps=7)
    assert not calibrated(guidance_scale=2.0)
    other = CascadedHandPipeline(**bundled.components)
    swapped(other, DPMSolverMultistepScheduler)
    assert not other(photo, num_hypotheses=2, generator=1).joint_std_calibrated
    assert type(bundled.joint_scheduler) is DDIMScheduler


# ------------------------------------------------------------------------------------------------ own noise, tuples


def test_own_noise_and_tuples(tiny_pipeline, photo):
    latent = tiny_pipeline.mesh_autoencoder.latent_shape
    noise = {"joint_noise": torch.randn(1, 2, 21, 3), "mesh_noise": np.random.randn(1, 2, *latent)}
    one, other = (tiny_pipeline(photo, num_hypotheses=2, generator=seed, **noise) for seed in (0, 1))
    np.testing.assert_array_equal(one.vertices, other.vertices)
    values = tiny_pipeline(photo, num_hypotheses=2, generator=0, return_dict=False, **noise)
    assert isinstance(values, tuple)
    np.testing.assert_array_equal(values[0], one.joints)


@pytest.mark.parametrize(
    ("noise", "reason"),
    [(np.zeros((1, 3, 21, 3)), "shape"), (np.full((1, 2, 21, 3), np.nan), "NaN"), ("noise", "not an array")],
)
def test_noise_of_a_wrong_kind_is_refused(tiny_pipeline, photo, noise, reason):
    with pytest.raises(InputError, match=f"joint_noise: expected .*{reason}"):
        tiny_pipeline(photo, num_hypotheses=2, joint_noise=noise)


@pytest.mark.parametrize("generator", ["seed", 1.5, [1, "two"], {}])
def test_a_generator_of_a_wrong_kind_is_refused(tiny_pipeline, photo, generator):
    with pytest.raises(InputError, match="generator: expected"):
        tiny_pipeline(photo, num_hypotheses=1, generator=generator)


def test_the_default_scheduler_passes():
    check_scheduler(default_scheduler(), "joint_scheduler")


# ------------------------------------------------------------------------------------------------ offload, precision


def offload_models(pipeline):
    pipeline.enable_model_cpu_offload(device="cpu")


def offload_layers(pipeline):
    """As `enable_sequential_cpu_offload`, which calls the device cpu:0: torch does not keep that apart from cpu."""
    for name, model in pipeline.components.items():
        if isinstance(model, torch.nn.Module) and name not in pipeline._exclude_from_cpu_offload:
            cpu_offload(model, torch.device("cpu"), offload_buffers=len(model._parameters) > 0)


def offload_groups(pipeline):
    pipeline.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")


@pytest.mark.parametrize("offload", [offload_models, offload_layers, offload_groups])
def test_offloaded_models_give_the_same_answer(bundled, photo, offload):
    expected = bundled(photo, num_hypotheses=2, generator=1)
    offloaded = CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT)
    offload(offloaded)
    offloaded.set_progress_bar_config(disable=True)
    for _ in range(2):  # weights are brought in again
        out = offloaded(photo, num_hypotheses=2, generator=1)
        np.testing.assert_allclose(out.vertices, expected.vertices, atol=1e-6)
        np.testing.assert_array_equal(out.faces, expected.faces)
    if offload is offload_layers:
        assert offloaded.joint_denoiser.trunk.project_in.weight.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_stay_near(bundled, dtype):
    photo = Path(hf_handdiff.__file__).parents[2] / "examples" / "hand_1.jpg"
    expected = bundled(photo, num_hypotheses=4, generator=1)
    half = CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT, torch_dtype=dtype)
    half.set_progress_bar_config(disable=True)
    out = half(photo, num_hypotheses=4, generator=1)
    assert out.vertices.dtype == np.float32
    assert np.abs(out.mean_joints - expected.mean_joints).max() < 0.01
    with torch.autocast("cpu", dtype):
        out = bundled(photo, num_hypotheses=4, generator=1)
    assert np.abs(out.mean_joints - expected.mean_joints).max() < 0.01


def test_a_device_map_loads(bundled, photo):
    mapped = CascadedHandPipeline.from_pretrained(hf_handdiff.DEFAULT_CHECKPOINT, device_map="cpu")
    mapped.set_progress_bar_config(disable=True)
    one, other = (pipe(photo, num_hypotheses=2, generator=1) for pipe in (bundled, mapped))
    np.testing.assert_array_equal(one.joints, other.joints)
