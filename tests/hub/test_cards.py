"""Cards: their metadata, and that every figure on them comes from the results."""

import copy
import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard

import hf_handdiff
from hf_handdiff.cli.pipeline_arguments import checkpoint_digest
from hf_handdiff.errors import InputError
from hf_handdiff.hub import figures
from hf_handdiff.hub.cards import dataset_card, pipeline_card, training_card
from hf_handdiff.hub.runs import _base_model

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "model_cards"
CHECKPOINT = hf_handdiff.DEFAULT_CHECKPOINT
# Not part of a word ("2D", "v4") or of a path; thousands with commas.
NUMBER = re.compile(r"(?<![\w./-])\d[\d,]*(?:\.\d+)?(?![\w])")
SPDX_AND_HUB = {"apache-2.0", "other"}
HUB_PIPELINE_TAGS = {"image-to-3d", "keypoint-detection"}


@pytest.fixture(scope="module")
def results():
    return json.loads((CARDS / "base_results.json").read_text())


def fill(results) -> ModelCard:
    return pipeline_card(CHECKPOINT, results, template=CARDS / "base.template.md")


def figures_of(text: str) -> str:
    """The section Figures, without code."""
    section = text.split("\n## Figures\n")[1].split("\n## ")[0]
    return re.sub(r"`[^`]*`", "", section)


def numbers_of(text: str) -> list[str]:
    return [number.rstrip(",") for number in NUMBER.findall(text)]


def leaves(value):
    """Every number of a nested structure; those in its keys and strings too."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(str(key).replace("stage", "stage "))
            yield from leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry)
    elif isinstance(value, str):
        yield from (float(number) for number in re.findall(r"\d+(?:\.\d+)?", value))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def unfounded(text: str, results) -> list[str]:
    """Printed numbers that no number of the results is rounded to, as itself or in per cent."""
    known = list(leaves(results))
    bad = []
    for number in numbers_of(text):
        digits = len(number.partition(".")[2])
        printed = {f"{scale * value:.{digits}f}" for value in known for scale in (1, 100)}
        # Levels and versions are texts of the results, and the names of the two stages are theirs.
        if number.replace(",", "") not in printed:
            bad.append(number)
    return bad


def scaled(value, factor: float):
    """The same structure with every figure but the counts of hypotheses multiplied."""
    if isinstance(value, dict):
        kept = ("num_hypotheses", "seed", "best_of_n")
        return {key: entry if key in kept else scaled(entry, factor) for key, entry in value.items()}
    if isinstance(value, list):
        return [scaled(entry, factor) for entry in value]
    return value * factor if isinstance(value, (int, float)) and not isinstance(value, bool) else value


# ---------------------------------------------------------------------------------------- the bundled card


def test_every_figure_is_in_the_results(results):
    section = figures_of((CARDS / "base.md").read_text())
    assert len(numbers_of(section)) > 100
    assert unfounded(section, results) == []
    changed = section.replace("| PA-MPJPE, the answer |", "| PA-MPJPE, the answer | 10.777 ")
    assert unfounded(changed, results) == ["10.777"], "a figure that is in no result is found"


def test_no_figure_is_typed_into_a_template(results):
    """With every result changed, only names that hold a number (levels, groups, 20 hands) stay as they were."""
    strange = scaled(results, 1.7391)
    before, after = (figures_of(str(fill(told))) for told in (results, strange))
    assert unfounded(after, strange) == []
    assert unfounded(after, results), "the figures changed with the results"
    assert before.count("\n") == after.count("\n")


def test_the_committed_card_is_the_filled_template(results):
    """So that a figure changed by hand, or results that were not filled in, do not pass."""
    filled = str(fill(results))
    assert (CARDS / "base.md").read_text() == filled
    assert (Path(CHECKPOINT) / "README.md").read_text() == filled
    changed = copy.deepcopy(results)
    changed["sets"][0]["results"]["aggregated"]["mean"]["pa_mpjpe_mm"] += 0.1
    assert str(fill(changed)) != filled


def test_the_results_are_of_the_bundled_weights(results):
    digest = checkpoint_digest(CHECKPOINT)
    assert results["checkpoint"] == digest
    assert {part["results"]["settings"]["predictor"] for part in results["sets"]} == {digest}


def test_readme_shows_the_same_figures(results):
    spec = importlib.util.spec_from_file_location("fill_base_card", ROOT / "scripts" / "fill_base_card.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    shown = (ROOT / "README.md").read_text().split("<!-- figures:begin -->\n")[1].split("\n<!-- figures:end -->")[0]
    assert shown == script.fill_readme(results)
    assert unfounded(re.sub(r"`[^`]*`", "", shown), results) == []


def test_metadata_survive_the_hub_s_reader(results):
    card = ModelCard((CARDS / "base.md").read_text())
    assert card.data.library_name == "diffusers" and card.data.license in SPDX_AND_HUB
    assert card.data.pipeline_tag in HUB_PIPELINE_TAGS and "hf_handdiff" in card.data.tags
    told = {(entry.dataset_name, entry.metric_type): entry.metric_value for entry in card.data.eval_results}
    for part in results["sets"]:
        answer = part["results"]["accuracy"]
        assert told[part["label"], "pa_mpjpe_mm"] == round(answer["pa_mpjpe_mm"], 2)
        coverage = part["results"]["joint_std"]["coverage"]["90%"]
        assert told[part["label"], "joint_std_coverage_90"] == round(coverage, 4)
    assert yaml.safe_load(card.data.to_yaml())["model-index"][0]["name"]
    assert card.text.index("```python") < card.text.index("## "), "our own snippet comes first"


# ---------------------------------------------------------------------------------------- other cascades


def test_card_of_a_cascade_of_ones_own(tiny_pipeline, tmp_path, results):
    tiny_pipeline.save_pretrained(tmp_path / "mine")
    card = pipeline_card(tmp_path / "mine", repo_id="someone/mine", training="On my own photos.", synthetic=False)
    assert 'from_pretrained("someone/mine")' in card.text and "On my own photos." in card.text
    assert "None were given" in card.text and card.data.eval_results is None
    assert "MediaPipe" in card.text and "4 for the joints and 3 for the meshes" in card.text
    assert "renders" not in card.text.split("## Biases")[1].split("## Licences")[0]

    one = results["sets"][0]["results"]  # as a results.json of `handdiff evaluate`
    measured = pipeline_card(tmp_path / "mine", one, repo_id="someone/mine")
    assert unfounded(figures_of(str(measured)), one) == []
    assert len(measured.data.eval_results) == 5 and measured.data.model_name == "mine"


def test_card_of_a_single_stage(tiny_pipeline, tmp_path):
    names = ("image_encoder", "joint_denoiser", "joint_scheduler")
    stage1 = hf_handdiff.JointDiffusionPipeline(**{name: getattr(tiny_pipeline, name) for name in names})
    stage1.save_pretrained(tmp_path / "joints")
    card = pipeline_card(tmp_path / "joints", repo_id="someone/joints")
    assert "JointDiffusionPipeline.from_pretrained" in card.text and "out.vertices" not in card.text
    assert card.data.license == "apache-2.0" and "meshes" not in card.text.split("## What is inside")[0]


def test_skin_tones_are_shown_where_they_were_measured(results):
    told = copy.deepcopy(results)
    group = told["sets"][1]["results"]["by_visible_share"]["visible (> 0.8)"]
    told["sets"][1]["results"]["by_skin_tone"] = {"light (< 1/3)": group, "dark (> 2/3)": scaled(group, 1.37)}
    told["sets"][0]["results"]["by_skin_tone"] = {}
    card = str(fill(told))
    section = figures_of(card).split("### Skin tones")[1]
    assert "path-traced: dark (> 2/3)" in section and "synthetic test split: " not in section
    assert unfounded(section, told) == []
    assert "measured separately above" in card.split("## Biases")[1]


def test_figures_of_several_checkpoints_are_refused(results):
    first = results["sets"][0]["results"]
    other = {**first, "settings": {**first["settings"], "predictor": "other sha256:0"}}
    sets = [figures.EvaluatedSet("a", None, first), figures.EvaluatedSet("b", None, other)]
    with pytest.raises(InputError, match=r"one checkpoint.*other sha256:0"):
        figures.collect_results(sets)
    with pytest.raises(InputError, match="results.json"):
        pipeline_card(CHECKPOINT, {"pa_mpjpe": 3.0})
    with pytest.raises(InputError, match="model_index.json"):
        pipeline_card(CARDS)


# ---------------------------------------------------------------------------------------- components, data sets


@pytest.mark.parametrize("script", ["image_encoder", "hand_framing", "stage1", "autoencoder", "stage2"])
def test_card_of_a_component(script):
    config = {"corpus": "someone/hands", "output_dir": "/some/where/runs/x", "learning_rate": 3e-4, "conditions": None}
    card = training_card(script, config, {"step": 120, "joint_mm": 12.34567}, "someone/part", base="someone/older")
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    assert card.data.datasets == ["someone/hands"] and card.data.base_model == "someone/older"
    assert "| joint_mm | 12.35 |" in card.text and "after 120 steps" in card.text
    assert "/some/where" not in card.text and "…/x" in card.text, "paths of the user's machine are not shown"
    name = re.search(r"from hf_handdiff import (\w+)", card.text)[1]
    assert hasattr(hf_handdiff, name)
    assert (ROOT / "train" / f"{script}.py").is_file()


@pytest.mark.parametrize(
    ("script", "flags", "base"),
    [
        ("stage1", {"init_from": "bundled"}, "bundled"),
        ("stage2", {"init_from": "someone/older"}, "someone/older"),
        ("image_encoder", {"initial": "bundled"}, "bundled"),
        ("hand_framing", {"image_encoder": "bundled"}, "bundled"),
        ("autoencoder", {"init_from": None}, None),
        ("stage1", {"init_from": "../mine/model"}, None),
    ],
)
def test_a_card_says_what_training_went_on_from(script, flags, base):
    assert _base_model(script, flags) == base
    card = training_card(script, flags, {}, "someone/part", base=base)
    words = {"bundled": "the weights that come with hf_handdiff", None: ""}.get(base, f"`{base}`")
    assert (f"\nIt went on from {words}.\n" in card.text) == (base is not None)
    assert card.data.base_model == (base if base == "someone/older" else None)


def test_meshes_of_mano_keep_mano_s_licence():
    card = training_card("autoencoder", {"mano_file": "MANO_RIGHT.pkl"}, {}, "someone/part")
    assert card.data.license == "other" and card.data.license_name == "mano"
    assert "research" in card.text.split("## Licences")[1]
    with pytest.raises(InputError, match="stage3"):
        training_card("stage3", {}, {}, "someone/part")


def test_card_of_a_data_set():
    card = dataset_card(
        DatasetCardData(license="apache-2.0"),
        title="Hands",
        summary="Some.",
        splits=[{"name": "train", "rows": "10", "hands": "9", "shards": "1", "section": "## train\n\nMade up.\n"}],
        about_splits="One alone.",
        columns={"image": "the crop"},
        made_of="Nothing.",
        repo_id="someone/hands",
    )
    again = DatasetCard(str(card))
    assert again.data.license == "apache-2.0" and "| train | 10 | 9 | 1 |" in again.text
    assert 'load_dataset("someone/hands", split="train")' in again.text


def test_the_hub_s_validator_takes_the_cards(hub, home, tmp_path):
    base = CARDS / "base.md"
    (tmp_path / "part.md").write_text(str(training_card("stage1", {}, {"step": 3}, "someone/part")))
    (tmp_path / "wrong.md").write_text(base.read_text().replace("library_name: diffusers", "library_name: [1]"))
    realistic = tmp_path / "dataset.md"
    realistic.write_text((ROOT / "data" / "realistic_test" / "README.md").read_text())
    judged = hub.client("card_client.py", home, base, tmp_path / "part.md", realistic, tmp_path / "wrong.md")
    assert judged[:3] == ["fine"] * 3
    assert "library_name" in judged[3]
