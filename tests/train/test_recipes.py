"""Recipes are checked before anything runs; what is done is skipped, what has changed is refused."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import run as run_script
import yaml
from handdiff_training.flags import CONFIGS
from recipes.reading import DATA_SETS, RECIPES, read_recipe, sizes, with_settings
from recipes.running import check_flags, forget, run_steps
from recipes.steps import Step, steps_of

from hf_handdiff.errors import InputError

TRAIN = Path(run_script.__file__).parent


@pytest.fixture
def freihand(tmp_path):
    """A folder that looks like FreiHAND's download to a recipe; no step reads it here."""
    folder = tmp_path / "FreiHAND"
    folder.mkdir()
    (folder / "training_K.json").write_text("[]")
    return folder


def recipe_file(tmp_path, **values):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump({"data_set": "freihand", **values}))
    return file


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("data_set", DATA_SETS)
def test_every_step_of_every_recipe_has_flags_that_its_program_knows(tmp_path, recipe, data_set):
    for size in sizes(data_set):
        found = read_recipe(recipe, CONFIGS / data_set / f"{size}.yaml")
        steps = steps_of(found, tmp_path, tmp_path / "MANO_RIGHT.pkl", tmp_path / "out")
        check_flags(steps)
        assert len({step.name for step in steps}) == len(steps)


@pytest.mark.parametrize(
    "values, problem",
    [
        ({"stage3": {}}, "unknown keys stage3; expected data_set, processes"),
        ({"processes": 0}, "processes: expected a whole number from 1, got 0"),
        ({"stage1": 5}, "stage1: expected flag: value, got 5"),
        ({"data_set": "coco"}, "data_set: expected freihand or ho3d, got 'coco'"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(tmp_path, values, problem):
    with pytest.raises(InputError, match=problem):
        read_recipe("freihand", recipe_file(tmp_path, **values))


def test_a_file_wins_over_its_base_flag_by_flag(tmp_path):
    recipe_file(tmp_path, processes=2, stage1={"max_train_steps": 5, "seed": 1})
    (tmp_path / "own.yaml").write_text("base: recipe.yaml\nstage1: {seed: 2}\n")
    recipe = with_settings(
        read_recipe("freihand", tmp_path / "own.yaml"), ["stage1.learning_rate=1e-3", "stage2.cpu=true"]
    )
    assert recipe.processes == 2 and recipe.flags("stage1") == {
        "max_train_steps": 5,
        "seed": 2,
        "learning_rate": "1e-3",
    }
    flags = next(step.flags for step in steps_of(recipe, tmp_path, None, tmp_path) if step.name == "stage2")
    assert "--cpu" in flags and "--hand" not in flags


@pytest.mark.parametrize(
    "flags, problem",
    [
        ("--recipe ho3d", r"--data: expected .* train.txt \(ho3d\) for --recipe ho3d, .* has that of freihand"),
        ("--recipe freihand --size huge", "--size: expected one of eight_gpus, one_gpu, toy, two_cores, got 'huge'"),
        ("--recipe freihand --set stage9.seed=1", "--set: expected STEP.FLAG=VALUE with a step of trainings, corpus"),
        ("--recipe freihand --hand nowhere.pkl", "--hand: expected your MANO_RIGHT.pkl, there is no file nowhere.pkl"),
        ("--recipe freihand --until stage7", "--until: expected one of corpus, image_encoder, .* got 'stage7'"),
    ],
)
def test_wrong_flags_are_one_sentence(freihand, tmp_path, flags, problem):
    with pytest.raises(InputError, match=problem):
        run_script.main([*flags.split(), "--data", str(freihand), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_wrong_flag_of_a_step_is_told_before_anything_runs(freihand, tmp_path, capsys):
    flags = ["--recipe", "freihand", "--data", str(freihand), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        run_script.main([*flags, "--set", "stage2.max_train_stpes=3"])
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    said = capsys.readouterr().err
    assert said.startswith("run.py, step stage2: unrecognized arguments: --max_train_stpes 3")


def encoding_step(out, corpus, **changes):
    """A step that fails quickly: there is no corpus."""
    flags = {"corpus": corpus, "out": out / "conditions", "num_samples": 3, **changes}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return Step("conditions", "encode_corpus", words, (out / "conditions",))


def test_a_failed_step_ends_the_run_and_changed_flags_are_refused(tmp_path, capfd):
    step = encoding_step(tmp_path, tmp_path / "none")
    with pytest.raises(SystemExit) as ended:
        run_steps([step], tmp_path)
    assert ended.value.code == 2
    assert "step conditions ended with 2; the same command goes on from there" in capfd.readouterr().err
    record = json.loads((tmp_path / "steps" / "conditions.json").read_text())
    assert not record["done"] and record["command"].startswith("python train/encode_corpus.py --corpus")
    with pytest.raises(InputError, match=r"begun there with other flags \(4 now\); give --again conditions"):
        run_steps([encoding_step(tmp_path, tmp_path / "none", num_samples=4)], tmp_path)


def test_done_steps_are_skipped_until_they_are_wanted_again(tmp_path):
    step = encoding_step(tmp_path, tmp_path / "none")
    (tmp_path / "conditions").mkdir()
    (tmp_path / "steps").mkdir()
    record = {"flags": step.flags, "seconds": 7.0, "done": True}
    (tmp_path / "steps" / "conditions.json").write_text(json.dumps(record))
    assert run_steps([step], tmp_path) == {"conditions": 7.0}
    forget([step], "conditions", tmp_path)
    assert not (tmp_path / "conditions").exists()
    with pytest.raises(SystemExit):
        run_steps([step], tmp_path)


@pytest.mark.slow
def test_the_whole_recipe_on_a_tree_of_renders(tmp_path):
    """One command from the tree to the official scores and pred.zip; the second time it does nothing."""
    pytest.importorskip("numba")
    from hf_handdiff.synthetic import FreihandTree, write_tree

    tree = write_tree(tmp_path / "tree", FreihandTree(60, 4, seed=1), progress=False)
    command = [sys.executable, str(TRAIN / "run.py"), "--recipe", "freihand", "--size", "toy", "--data", str(tree)]
    command += ["--hand", str(tree / "MANO_RIGHT.pkl"), "--out", str(tmp_path / "out")]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr[-3000:]
    out = tmp_path / "out"
    results = json.loads((out / "evaluate" / "results.json").read_text())
    assert results["num_samples"] == 4 and results["settings"]["predicted_mesh"] == results["settings"]["true_mesh"]
    scores = results["official"]["scores"]
    assert scores["pa_mpvpe_mm"] == pytest.approx(results["accuracy"]["pa_mpvpe_mm"], abs=1e-3)
    joints, vertices = json.loads(zipfile.ZipFile(out / "evaluate" / "pred.zip").read("pred.json"))
    truth = np.array(json.loads((tree / "evaluation_xyz.json").read_text()))
    assert scores["mpjpe_mm"] == pytest.approx(1000 * np.linalg.norm(joints - truth, axis=-1).mean(), abs=1e-5)
    assert np.shape(vertices) == (4, 778, 3)
    text = (out / "results.md").read_text()
    assert "random hand, aligned" in text and "FreiHAND: official scores" in text and "| evaluate " in text
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.count(": done") == 11, again.stderr[-3000:]
    assert (out / "results.md").read_text() == text
