"""Real but tiny components that tests of several rooms share. No network, no shared folder."""

import os
import signal
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch
from moving_hand import staying_pipeline, write_clip
from untrained import randomize_zero_layers
from warm_processes import WarmProcesses

from hf_handdiff.hand import HandLayer

# A shell's background jobs ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files and folders whose tests take longest: begun first, so that no process is left alone with one of them in the end.
LONG = ("space/test_page.py", "hub", "train", "synthetic", "evaluation", "test_predict_folders.py", "space")


def pytest_collection_modifyitems(config, items):
    """Tests of the long files first; else in their order."""

    def place(item):
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((number for number, name in enumerate(LONG) if path.startswith(name)), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def hand_layer():
    return HandLayer.open_hand()


@pytest.fixture(scope="session")
def tiny_pipeline(hand_layer):
    """A cascade with untrained, small networks; every part is of the real classes."""
    from hf_handdiff import CascadedHandPipeline
    from hf_handdiff.models import (
        HandImageEncoder,
        HandImageEncoderConfig,
        JointDenoiser,
        JointDenoiserConfig,
        MeshAutoencoder,
        MeshAutoencoderConfig,
        MeshLatentDenoiser,
        MeshLatentDenoiserConfig,
    )
    from hf_handdiff.pipelines.schedulers import default_scheduler

    torch.manual_seed(0)
    encoder = HandImageEncoder(HandImageEncoderConfig(refinement_steps=0)).eval()
    # One cut alone: cut anew round untrained landmarks, squares turn rounding into tenths of a millimetre.
    # Untrained landmarks lie in one corner: spread them over the crop so that views make sense.
    with torch.no_grad():
        encoder.landmark_head.bias.copy_(0.2 + 0.6 * torch.rand(42))
    autoencoder = MeshAutoencoder(MeshAutoencoderConfig(encoder_hidden_size=32)).eval()
    autoencoder.faces.copy_(hand_layer.faces)
    autoencoder.joint_regressor.copy_(hand_layer.mesh_to_joints)
    pipeline = CascadedHandPipeline(
        image_encoder=encoder,
        joint_denoiser=JointDenoiser(JointDenoiserConfig(hidden_size=64, num_blocks=2)).eval(),
        mesh_autoencoder=autoencoder,
        mesh_latent_denoiser=randomize_zero_layers(
            MeshLatentDenoiser(MeshLatentDenoiserConfig(hidden_size=64, num_blocks=2))
        ),
        joint_scheduler=default_scheduler(),
        mesh_scheduler=default_scheduler(),
        num_inference_steps=4,
        num_mesh_inference_steps=3,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def distribution_pipeline(tiny_pipeline):
    """The same with an encoder that tells how its keypoints err, and a stage 1 that moves its joints towards rays."""
    from hf_handdiff import CascadedHandPipeline
    from hf_handdiff.models import HandImageEncoder, HandImageEncoderConfig, JointDenoiser, JointDenoiserConfig

    torch.manual_seed(1)
    config = HandImageEncoderConfig(
        refinement_steps=0, keypoint_factors=3, distribution_hidden_size=16, distribution_scale=1.25
    )
    encoder = HandImageEncoder(config)
    encoder.load_state_dict(tiny_pipeline.image_encoder.state_dict(), strict=False)
    randomize_zero_layers(encoder.distribution_head)
    denoiser = JointDenoiser(JointDenoiserConfig(hidden_size=64, num_blocks=2, consistency=True))
    pipeline = CascadedHandPipeline(
        **{
            **tiny_pipeline.components,
            "image_encoder": encoder.eval(),
            "joint_denoiser": randomize_zero_layers(denoiser, 0.02),
        }
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def clip(hand_layer, tmp_path_factory):
    """A rendered hand that moves to the right; the path of the video and its frames (T, H, W, 3)."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return path, write_clip(path, hand_layer)


@pytest.fixture(scope="session")
def pipeline_of_clip(tiny_pipeline):
    """A small pipeline that follows it."""
    return staying_pipeline(tiny_pipeline)


@pytest.fixture(scope="session")
def checkpoint_of_clip(pipeline_of_clip, tmp_path_factory):
    """The same in a folder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    pipeline_of_clip.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def photo():
    """(150, 200, 3) uint8, nothing in particular."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((10, 10, 1), np.uint8))


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """Starts processes that have torch."""
    processes = WarmProcesses(tmp_path_factory.mktemp("processes"))
    yield processes
    processes.stop()


@pytest.fixture
def called_programs(tmp_path_factory, monkeypatch):
    """A function that says how often `gs` was started, by which Pillow draws EPS; it is a script that does nothing."""
    from PIL import EpsImagePlugin

    folder = tmp_path_factory.mktemp("programs")
    (folder / "gs").write_text(f"#!/bin/sh\necho called >> '{folder}/calls'\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where Pillow keeps what it found
    return lambda: (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
