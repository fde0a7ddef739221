"""The ONNX files answer as the networks do, of untrained small ones and of the weights that come with the package."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hf_handdiff
from hf_handdiff import camera
from hf_handdiff.cli.loading import load_pipeline
from hf_handdiff.cli.main import main
from hf_handdiff.cli.pipeline_arguments import checkpoint_digest
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.benchmark import render_benchmark
from hf_handdiff.evaluation.onnx_timing import measure_onnx
from hf_handdiff.export import onnx_files
from hf_handdiff.export.graphs import network_graphs
from hf_handdiff.images import load_image
from hf_handdiff.pipelines.sampling import sample_joints

EXAMPLES = Path(__file__).parents[1] / "examples"
COMPONENTS = ("image_encoder", "joint_denoiser", "mesh_latent_denoiser", "mesh_decoder")
TOLERANCE = 1e-4  # of the largest value of an output: float32 in another order


@pytest.fixture(scope="module", params=["untrained", "with a distribution", "bundled"])
def exported(request, tiny_pipeline, distribution_pipeline, tmp_path_factory):
    """(pipeline, folder of its export)."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("export") / "new" / "folder"
    if request.param != "bundled":
        pipeline = tiny_pipeline if request.param == "untrained" else distribution_pipeline
        onnx_files.export_pipeline(pipeline, folder, "untrained")
    else:
        pipeline = load_pipeline(None, "cpu")
        assert main(["export", "--out", str(folder)]) == 0
    return pipeline, folder


@pytest.fixture(scope="module")
def crops():
    """(3, 3, 224, 224) of photos: on noise each look of the encoder is elsewhere by chance, and errors grow."""
    photos = [load_image(EXAMPLES / f"hand_{number}.jpg", "image") for number in (1, 2)]
    cut = []
    for photo in (*photos, photos[0][:, ::-1].copy()):
        height, width = photo.shape[:2]
        cut.append(camera.crop_image(photo, np.array([width / 2, height / 2, max(height, width)], np.float32), 224))
    return torch.stack(cut)


def is_untrained(folder):
    return json.loads((folder / "onnx.json").read_text())["checkpoint"] == "untrained"


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_gives_what_torch_gives(exported, crops, component, batch):
    pipeline, folder = exported
    graph = {graph.name: graph for graph in network_graphs(pipeline)}[component]
    inputs = (crops[:batch],) if component == "image_encoder" else graph.example_inputs(batch, seed=1)
    with torch.no_grad():
        expected = graph.module(*inputs)
    allowed = [TOLERANCE * output.abs().max().item() for output in expected]
    if component == "image_encoder" and is_untrained(folder):
        # each look of random weights throws the next one about: no more is asked of the file than that its error is
        # below what PyTorch itself makes of pixels moved by 1e-5
        with torch.no_grad():
            touched = graph.module(
                inputs[0] + 1e-5 * torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(0))
            )
        allowed = [max(a, (e - t).abs().max().item()) for a, e, t in zip(allowed, expected, touched, strict=True)]
    session = onnx_files.open_session(folder / f"{component}.onnx", "test", threads=1)
    found = onnx_files.run_session(session, inputs)
    assert [output.name for output in session.get_outputs()] == [tensor.name for tensor in graph.outputs]
    for tensor, ours, theirs, error in zip(graph.outputs, expected, found, allowed, strict=True):
        assert theirs.shape == ours.shape == (batch, *tensor.shape), tensor.name
        assert theirs.dtype == ours.dtype == torch.float32, tensor.name
        torch.testing.assert_close(theirs, ours, atol=error, rtol=0, msg=lambda m, n=tensor.name: f"{n}: {m}")


def test_masks_are_inputs_and_not_constants(exported):
    pipeline, folder = exported
    for graph in network_graphs(pipeline):
        masks = [index for index, tensor in enumerate(graph.inputs) if tensor.dtype == "bool"]
        session = onnx_files.open_session(folder / f"{graph.name}.onnx", "test", threads=1)
        for mask in masks:
            inputs = list(graph.example_inputs(2))
            used = onnx_files.run_session(session, tuple(inputs))[0]
            inputs[mask] = torch.tensor([True, False])
            found = onnx_files.run_session(session, tuple(inputs))[0]
            with torch.no_grad():
                expected = graph.module(*inputs)[0]
            torch.testing.assert_close(found, expected, atol=TOLERANCE * expected.abs().max().item(), rtol=0)
            torch.testing.assert_close(found[0], used[0])
            assert (found[1] - used[1]).abs().max() > 1e-3


def test_stage_1_samples_the_same_joints_with_the_file_in_its_place(exported):
    pipeline, folder = exported
    session = onnx_files.open_session(folder / "joint_denoiser.onnx", "test", threads=1)
    network = pipeline.joint_denoiser

    class FromFile(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.config = torch.nn.Parameter(torch.zeros(())), network.config

        def forward(self, *tensors, keypoints, keypoint_scores, view_scale, view_middle, condition_mask=None):
            everything = torch.ones(len(tensors[0]), dtype=torch.bool)
            mask = everything if condition_mask is None else condition_mask
            given = (*tensors, keypoints, keypoint_scores, view_scale, mask)
            if network.config.consistency:
                given += (view_middle,)
            return onnx_files.run_session(session, given)[0]

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 3, 21, 3, generator=generator)
    conditions = [torch.rand(2, 21, 2, generator=generator), torch.ones(2, 21), torch.full((2,), 0.2)]
    middle = torch.tensor([[0.01, -0.02], [0.0, 0.03]])
    sampled = [
        sample_joints(
            one, pipeline.joint_scheduler, noise, *conditions, num_steps=5, guidance_scale=1.5, view_middle=middle
        )
        for one in (network, FromFile())
    ]
    torch.testing.assert_close(sampled[1], sampled[0], atol=1e-5, rtol=0)  # a hundredth of a millimetre


def test_the_index_names_every_tensor(exported):
    pipeline, folder = exported
    assert {path.name for path in folder.iterdir()} == {*(f"{name}.onnx" for name in COMPONENTS), "onnx.json"}
    index = json.loads((folder / "onnx.json").read_text())
    assert tuple(index["components"]) == COMPONENTS
    for name, component in index["components"].items():
        session = onnx_files.open_session(folder / component["file"], "test")
        ports = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
        for side, found in ports.items():
            assert [port.name for port in found] == [tensor["name"] for tensor in component[side]], name
            for port, tensor in zip(found, component[side], strict=True):
                assert len(port.shape) == len(tensor["shape"]) and tensor["shape"][0] == "batch" == port.shape[0]
                assert tensor["meaning"]
    pixels = index["components"]["image_encoder"]["inputs"][0]
    assert pixels["shape"] == ["batch", 3, 224, 224] and pixels["dtype"] == "float32"


@pytest.mark.slow
def test_benchmark_compares_with_onnxruntime(exported, tmp_path, capsys):
    pipeline, folder = exported
    if is_untrained(folder):
        with pytest.raises(InputError, match="^--onnx: expected an export of other, but .* is of untrained"):
            measure_onnx(pipeline, folder, "other")
        return
    figures_file = tmp_path / "figures.json"
    arguments = ["benchmark", "--device", "cpu", "--num-hypotheses", "1", "--repeats", "1"]
    assert main([*arguments, "--onnx", str(folder), "--json", str(figures_file)]) == 0
    figures = json.loads(figures_file.read_text())
    assert figures["onnx"].keys() == set(COMPONENTS)
    for name, timed in figures["onnx"].items():
        assert timed["torch_ms"] > 0 and timed["onnxruntime_ms"] > 0 and timed["ratio"] > 0
        assert timed["rows"] == (1 if name == "image_encoder" else 20)
    shown = capsys.readouterr().out
    assert all(name in shown and name in render_benchmark(figures) for name in COMPONENTS)


def test_what_is_missing_or_foreign_is_said_in_one_sentence(tmp_path, tiny_pipeline, monkeypatch, capsys):
    for name, module in (("onnx", "export"), ("onnxruntime", "--onnx")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(InputError, match=rf"^{module}: .*pip install 'hf_handdiff\[onnx\]'$"):
                if name == "onnx":
                    onnx_files.export_pipeline(tiny_pipeline, tmp_path / "out", "tiny")
                else:
                    onnx_files.open_session(tmp_path / "a.onnx", "--onnx")
    assert not (tmp_path / "out").exists()
    deep, five, above = "[" * 100_000, '{"components": {"a": {"file": 5}}}', '{"components": {"a": {"file": "../a"}}}'
    for content in (None, "{", "[]", '{"components": {"a": {}}}', deep, five, above, "\u00e4".encode("latin-1")):
        if content is not None:
            (tmp_path / "onnx.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError, match="^--onnx: expected a folder that handdiff export wrote"):
            onnx_files.read_index(tmp_path, "--onnx")
    (tmp_path / "onnx.json").write_text('{"components": {"a": {"file": "a.onnx"}}}')
    with pytest.raises(InputError, match="^--onnx: expected a.onnx in"):
        onnx_files.read_index(tmp_path, "--onnx")


def test_a_folder_that_cannot_be_made_and_a_damaged_file(tmp_path, tiny_pipeline):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (tmp_path / "file").write_text("not an ONNX file")
    with pytest.raises(InputError, match="^--out: "):
        onnx_files.export_pipeline(tiny_pipeline, tmp_path / "file", "tiny")
    with pytest.raises(InputError, match="^--onnx: file cannot be loaded"):
        onnx_files.open_session(tmp_path / "file", "--onnx")


def test_the_command_loads_nothing_heavy():
    code = "import sys, hf_handdiff.cli.export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_export_tells_its_weights(exported):
    _, folder = exported
    told = json.loads((folder / "onnx.json").read_text())["checkpoint"]
    assert told in ("untrained", checkpoint_digest(hf_handdiff.DEFAULT_CHECKPOINT))
