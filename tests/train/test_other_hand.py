"""`--hand`: another hand than the open one through the whole recipe, tiny; and what its checkpoint does not hold."""

import json
import pickle
import sys
from pathlib import Path

import assemble
import autoencoder
import encode_corpus
import numpy as np
import pytest
import stage1
import stage2
import torch
from ablations.models import VertexSpace
from earlier_checkpoints import save_with_triangles
from PIL import Image
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from official_trees import make_hands, write_freihand, write_mano_file, write_other_mano_file

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.cli.main import main
from hf_handdiff.data.freihand import import_freihand
from hf_handdiff.errors import InputError
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hub.cards import pipeline_card, training_card
from hf_handdiff.hub.terms import refuse_users_triangles
from hf_handdiff.models import HandImageEncoder, HandImageEncoderConfig, MeshAutoencoder
from hf_handdiff.viz import write_glb

FEW = (
    "--max_train_steps 2 --train_batch_size 8 --lr_warmup_steps 1 --cpu --report_to none --validation_steps 9 "
    "--config none"
).split()
TINY = "--hidden_size 32 --num_blocks 1 --validation_samples 4".split()
NUM_EVALUATION = 20  # as many as a calibration needs


@pytest.fixture(scope="module")
def mano_file(tmp_path_factory):
    return write_other_mano_file(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl")


@pytest.fixture(scope="module")
def corpus(mano_file, tmp_path_factory):
    """A FreiHAND download of that hand, imported."""
    folder = tmp_path_factory.mktemp("freihand")
    with torch.no_grad():
        hands = make_hands(6, mano_file), make_hands(NUM_EVALUATION, mano_file, seed=1)
    (folder / "tree").mkdir()
    tree = write_freihand(folder / "tree", *hands, load_open_hand_arrays()["hands_mean"].reshape(15, 3))
    import_freihand(tree, folder / "corpus", versions=[0], mano=mano_file, progress=False)
    return folder / "corpus"


@pytest.fixture(scope="module")
def recipe(mano_file, corpus, tmp_path_factory):
    """All of it; the folder that holds it."""
    out = tmp_path_factory.mktemp("recipe")
    torch.manual_seed(0)
    encoder = HandImageEncoder(HandImageEncoderConfig(refinement_steps=0))
    with torch.no_grad():
        encoder.landmark_head.bias.copy_(0.2 + 0.6 * torch.rand(42))
    encoder.save_pretrained(out / "encoder")
    for split, name in (("train", "train"), ("evaluation", "validation")):
        encode_corpus.main(
            ["--corpus", str(corpus), "--split", split, "--out_split", name, "--out", str(out / "conditions")]
            + ["--image_encoder", str(out / "encoder")]
        )
    few = [*FEW, "--hand", str(mano_file)]
    autoencoder.main([*few, "--principal_component_samples", "300", "--output_dir", str(out / "autoencoder")])
    data = ["--conditions", str(out / "conditions")]
    stage1.main([*few, *TINY, *data, "--output_dir", str(out / "stage1")])
    parts = {name: str(out / name / "model") for name in ("autoencoder", "stage1", "stage2")}
    used = ["--mesh_autoencoder", parts["autoencoder"], "--joint_denoiser", parts["stage1"]]
    stage2.main([*few, *TINY, *data, *used, "--output_dir", str(out / "stage2")])
    assemble.main(
        ["--out", str(out / "checkpoint"), *used, "--mesh_latent_denoiser", parts["stage2"]]
        + ["--image_encoder", str(out / "encoder"), "--num_inference_steps", "2", "--num_mesh_inference_steps", "2"]
    )
    return out


def evaluate(recipe, corpus, out, *more):
    words = ["evaluate", "--checkpoint", recipe / "checkpoint", "--data", corpus, "--split", "evaluation"]
    words += ["--out", out, "--num-hypotheses", 2, "--pictures", 1, *more]
    return main([str(word) for word in words])


def test_the_autoencoder_and_the_made_up_hands_are_of_that_hand(recipe, mano_file):
    layer = load_mano_layer(mano_file)
    model = MeshAutoencoder.from_pretrained(recipe / "autoencoder" / "model")
    with torch.no_grad():
        mesh = layer(torch.zeros(1, 16, 3), torch.zeros(1, 10))
        vertices = mesh.vertices - mesh.joints[:, :1]
        assert (model(vertices) - vertices).norm(dim=-1).mean() < 0.004
        assert (model.joints_from_vertices(vertices) - (mesh.joints - mesh.joints[:, :1])).norm(dim=-1).mean() < 0.002
    task = stage1.Stage1Task(stage1_args(mano_file))
    made = task.hands.meshes(2, torch.Generator().manual_seed(0))
    assert torch.equal(made[0], stage2.PosedHands(layer).meshes(2, torch.Generator().manual_seed(0))[0])


def stage1_args(mano_file):
    from argparse import Namespace

    names = {"init_from": None, "hidden_size": 8, "num_blocks": 1, "consistency": True, "conditions": None}
    return Namespace(hand=str(mano_file), validation_samples=1, **names)


def test_evaluation_compares_vertex_by_vertex_with_a_prior_of_that_hand(recipe, corpus, mano_file, tmp_path, capsys):
    assert evaluate(recipe, corpus, tmp_path, "--hand", mano_file, "--write-calibration") == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["settings"]["predicted_mesh"] == results["settings"]["true_mesh"] == "MANO"
    official, own = results["official"], results["accuracy"]
    assert official["same_vertices"] and "not MANO's" not in capsys.readouterr().out
    assert own["pa_mpvpe_mm"] == pytest.approx(official["scores"]["pa_mpvpe_mm"], abs=1e-3)
    prior = results["best_of"]["1"]
    assert prior["prior_pa_mpvpe_mm"] < prior["prior_pa_mpjpe_mm"] + 3  # a mesh of other vertices is far off
    assert (tmp_path / "best.jpg").is_file()
    index = json.loads((recipe / "checkpoint" / "model_index.json").read_text())
    assert len(index["joint_std_calibration"]["floor_m"]) == 21


def test_a_checkpoint_holds_no_array_of_the_hand(recipe, mano_file):
    """Neither as it is nor with its rows or numbers in another order; nor do the checkpoints of the trainings."""
    content = pickle.loads(mano_file.read_bytes())
    arrays = {name: np.asarray(content[name], np.float32) for name in content if name != "kintree_table"}
    arrays["joint template"] = arrays["J_regressor"] @ arrays["v_template"]
    files = [*recipe.rglob("*.safetensors")]
    assert {file.parent.name for file in files} >= {"mesh_autoencoder", "mesh_latent_denoiser", "joint_denoiser"}
    stored = {f"{file.parent}/{name}": array for file in files for name, array in load_file(file).items()}
    for file in recipe.rglob("*.json"):
        if file.name != "model.safetensors.index.json":
            stored |= {f"{file}/{key}": value for key, value in numbers_of(json.loads(file.read_text()))}
    for name, array in arrays.items():
        looked_for = spellings(array)
        for place, kept in stored.items():
            if kept.size == array.size:
                assert not looked_for & spellings(kept), f"{place} holds {name}"
    autoencoder = load_file(recipe / "checkpoint" / "mesh_autoencoder" / "model.safetensors")
    assert autoencoder["faces"].shape == (0, 3)


def numbers_of(values, key=""):
    """Lists of numbers in JSON, with their names."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from numbers_of(value, f"{key}.{name}")
    elif isinstance(values, list) and values and all(isinstance(value, (int, float)) for value in values):
        yield key, np.array(values)


def spellings(array):
    """An array's numbers as bytes, in every order of its rows that is one: sorted rows, and sorted numbers."""
    values = np.asarray(array, np.float32)
    if values.size < 30:
        return set()
    rows = values.reshape(len(values), -1) if values.ndim > 1 else values[:, None]
    found = {np.sort(values, axis=None).tobytes()}
    for some in (rows, rows.T):
        found.add(some[np.lexsort(some.T[::-1])].tobytes())
    return found


def test_a_copied_array_would_be_found(mano_file):
    content = pickle.loads(mano_file.read_bytes())
    shuffled = content["f"][np.random.default_rng(0).permutation(len(content["f"]))].astype(np.int64)
    assert spellings(shuffled) & spellings(content["f"])
    assert spellings(content["J_regressor"].T.copy()) & spellings(content["J_regressor"])


def test_without_the_file_meshes_are_sampled_and_what_needs_triangles_asks_for_it(recipe, mano_file, tmp_path):
    pipe = CascadedHandPipeline.from_pretrained(recipe / "checkpoint")
    pipe.set_progress_bar_config(disable=True)
    image = np.full((64, 64, 3), 90, np.uint8)
    out = pipe(image, num_hypotheses=2, generator=0, aggregation="mean")
    assert out.joints.shape == (1, 2, 21, 3) and out.vertices.shape == (1, 2, 778, 3) and out.faces is None
    with pytest.raises(InputError, match=r"pipe.use_hand\('MANO_RIGHT.pkl'\) or to --hand"):
        write_glb(tmp_path / "hand.glb", out.mean_vertices[0], out.faces)
    with pytest.raises(InputError, match=r"pipe.use_hand\('MANO_RIGHT.pkl'\) or to --hand"):
        pipe(image, num_hypotheses=2, generator=0)
    pipe.use_hand(str(mano_file))
    again = pipe(image, num_hypotheses=2, generator=0)
    np.testing.assert_array_equal(again.vertices, out.vertices)
    np.testing.assert_array_equal(again.faces, load_mano_layer(mano_file).faces)
    write_glb(tmp_path / "hand.glb", again.mean_vertices[0], again.faces)
    pipe.save_pretrained(tmp_path / "again", variant="fp16")  # the hand that was given does not go with it
    assert load_file(tmp_path / "again" / "mesh_autoencoder" / "model.fp16.safetensors")["faces"].size == 0


def test_the_vertex_space_of_the_ablations_holds_no_triangles_either(recipe, tmp_path):
    autoencoder = MeshAutoencoder.from_pretrained(recipe / "autoencoder" / "model")
    VertexSpace.of_hands(torch.randn(9, 778, 3), autoencoder).save(tmp_path)
    assert load_file(tmp_path / VertexSpace.FILE)["faces"].shape == (0, 3)
    assert VertexSpace.load(tmp_path).topology == autoencoder.topology


def test_predict_takes_the_file_and_the_side(recipe, mano_file, tmp_path, capsys):
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    words = ["predict", tmp_path / "photo.png", "--checkpoint", recipe / "checkpoint", "--num-hypotheses", 2]
    assert main([*map(str, [*words, "--out", tmp_path / "out", "--hand", mano_file, "--hand", "left"])]) == 0
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert record["handedness"] == "left" and len(record["faces"]) == 1538
    assert (tmp_path / "out" / "photo.glb").is_file()
    assert main([*map(str, [*words, "--out", tmp_path / "none"])]) != 0
    assert "--hand: expected the file of the hand" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*map(str, [*words, "--out", tmp_path / "none", "--hand", "up"])])
    assert "--hand: expected left, right or the file of a hand" in capsys.readouterr().err


def test_a_wrong_hand_is_one_sentence(recipe, corpus, mano_file, tmp_path, capsys):
    def refused(script, match, *flags):
        with pytest.raises(InputError, match=match) as error:
            script.main([*FEW, *flags, "--output_dir", str(tmp_path / "out")])
        assert "\n" not in str(error.value)

    content = pickle.loads(mano_file.read_bytes())
    content["v_template"] = content["v_template"] * np.float32([-1, 1, 1])
    left = tmp_path / "MANO_LEFT.pkl"
    left.write_bytes(pickle.dumps(content, 2))
    refused(autoencoder, "^--hand: .*MANO_LEFT.pkl is not a right MANO hand: .* give MANO_RIGHT", "--hand", str(left))
    refused(stage1, "^--hand: MANO file nowhere.pkl does not exist", "--hand", "nowhere.pkl")
    given = ["--init_from", "bundled"]
    refused(autoencoder, "^--hand: expected the hand that .* --init_from", *given, "--hand", str(mano_file))
    model = str(recipe / "autoencoder" / "model")
    refused(autoencoder, "^--hand: expected the hand that .* got open hand", "--init_from", model)
    used = [*TINY, "--joint_denoiser", str(recipe / "stage1" / "model"), "--conditions", str(recipe / "conditions")]
    hand = ["--hand", str(mano_file)]
    refused(stage2, "^--hand: expected the hand that .* --mesh_autoencoder", *used, "--mesh_autoencoder", model)
    refused(stage2, "^--hand: expected the hand .* got MANO", *used, "--mesh_autoencoder", "bundled", *hand)
    refused(stage2, "^--conditions: expected meshes of the hand", *used, "--mesh_autoencoder", "bundled")
    pipe = CascadedHandPipeline.from_pretrained(recipe / "checkpoint")
    with pytest.raises(InputError, match="^hand: expected a hand with the topology .* that of another file"):
        pipe.use_hand(HandLayer.open_hand())
    open_file = write_mano_file(tmp_path / "MANO_RIGHT.pkl")
    assert evaluate(recipe, corpus, tmp_path / "out", "--hand", open_file) == 1
    assert "--hand: expected a hand with the topology" in capsys.readouterr().err


def test_cards_say_what_one_may_do_with_the_weights(recipe, mano_file):
    config = json.loads((recipe / "checkpoint" / "mesh_autoencoder" / "config.json").read_text())
    assert config["hand"] == "file" and config["restricted_by"] == ["MANO"]
    card = pipeline_card(recipe / "checkpoint", repo_id="someone/hands")
    assert card.data.license_name == "mano" and 'pipe.use_hand("MANO_RIGHT.pkl")' in card.text
    licences = card.text.split("## Licences")[1]
    assert "learned from MANO's hand" in licences and "learned from [FreiHAND]" in licences
    assert "Not inside are arrays of the hand's file" in licences and "open hand: built from" not in licences
    assert "The images are synthetic" not in card.text  # FreiHAND's are not
    stage = json.loads((recipe / "stage1" / "model" / "config.json").read_text())
    assert stage["restricted_by"] == ["FreiHAND", "MANO"]
    text = str(training_card("stage1", {"hand": mano_file.name}, {}, "someone/part", terms=stage["restricted_by"]))
    assert "license_name: mano" in text and "learned from [FreiHAND]" in text.split("## Licences")[1]


def test_what_an_earlier_version_saved_with_its_triangles(recipe, mano_file, tmp_path):
    """It is read as it is; saved anew the triangles are left out, and as it is it is not pushed."""
    layer = load_mano_layer(mano_file)
    folder = tmp_path / "old"
    save_with_triangles(MeshAutoencoder.of_hand(layer), layer.faces, folder)
    old = MeshAutoencoder.from_pretrained(folder)
    assert torch.equal(old.faces, layer.faces) and old.topology == MeshAutoencoder.of_hand(layer).topology
    with pytest.raises(InputError, match="model.safetensors holds the triangles of a hand"):
        refuse_users_triangles(folder)
    old.save_pretrained(tmp_path / "new")
    assert torch.equal(old.faces, layer.faces) and old.config.hand == "open"  # it goes on as it was
    refuse_users_triangles(tmp_path / "new")
    new = MeshAutoencoder.from_pretrained(tmp_path / "new")
    assert new.faces.shape == (0, 3) and new.topology == old.topology
    latents = torch.randn(2, *new.latent_shape)
    assert torch.equal(new.decode(latents), old.decode(latents))
