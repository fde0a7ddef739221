"""The synthetic corpus as it is written and read back."""

from functools import partial

import numpy as np
import pytest
import roma
import torch
from checked_samples import SEED
from PIL import Image
from tqdm import tqdm

pytest.importorskip("numba")
pytest.importorskip("cv2")

from datasets import load_dataset
from huggingface_hub import DatasetCard

from hf_handdiff.cli.main import build_parser, main
from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.data.features import CORPUS_FEATURES, LOADED_FEATURES
from hf_handdiff.synthetic import SceneAssets, generate_sample, processes, write_corpus, writer
from hf_handdiff.synthetic.card import CorpusStatistics, corpus_statistics, curl_deg, viewing_direction, write_card


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder, 10, SEED, shard_rows=4, progress=False)


@pytest.fixture(scope="module")
def samples(assets):
    """The rows of the corpus, made anew."""
    return [generate_sample(SEED, index, assets) for index in range(10)]


def test_corpus_reads_back(corpus, samples):
    files = sorted(path.name for path in corpus.glob("*.parquet"))
    assert files == [f"train-{k:05d}-of-00003.parquet" for k in range(3)]
    dataset = load_corpus(corpus, split="train")
    assert dataset.features == LOADED_FEATURES and len(dataset) == 10
    batch = dataset.with_format("torch")[:10]
    assert batch["image"].shape == (10, 3, 224, 224) and batch["image"].dtype == torch.uint8
    np.testing.assert_array_equal(batch["vertices_m"], np.stack([row["vertices_m"] for row in samples]))
    assert batch["sample_id"] == [f"{SEED}/{index}" for index in range(10)]
    streamed = load_corpus(corpus, split="train", streaming=True)
    assert [row["sample_id"] for row in streamed] == batch["sample_id"]
    assert set(load_corpus(corpus)) == {"train"}


@pytest.mark.slow
def test_resumed_corpus_equals_an_uninterrupted_one_by_any_number_of_workers(corpus, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    original = writer._write_shard

    def stop_at_the_second(path, *args):
        if "00001" in path.name:
            raise Stop
        original(path, *args)

    monkeypatch.setattr(writer, "_write_shard", stop_at_the_second)
    with pytest.raises(Stop):
        write_corpus(tmp_path, 10, SEED, shard_rows=4, progress=False)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    write_corpus(tmp_path, 10, SEED, num_workers=2, shard_rows=4, progress=False)
    for path in corpus.glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in corpus.iterdir())


def test_parts_of_an_array_job_make_the_same_corpus(corpus, tmp_path):
    write_corpus(tmp_path, 10, SEED, shard_rows=4, shards=range(2, 3), progress=False)
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["train-00002-of-00003.parquet"]
    assert not (tmp_path / "README.md").exists(), "the card comes with the last shard"
    assert write_card(tmp_path) is None
    write_corpus(tmp_path, 10, SEED, shard_rows=4, shards=range(0, 2), progress=False)
    files = sorted(path.relative_to(corpus) for path in corpus.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for name in files:
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize("shards", [range(2, 4), range(-1, 1), range(1, 1)])
def test_shards_that_do_not_exist_are_named(tmp_path, shards):
    with pytest.raises(ValueError, match="shards: expected some of 0:3"):
        write_corpus(tmp_path / "out", 10, SEED, shard_rows=4, shards=shards, progress=False)
    assert not (tmp_path / "out").exists()


def test_card_is_what_the_hub_expects(corpus, samples, tmp_path):
    card = DatasetCard.load(corpus / "README.md")
    assert card.data.license == "apache-2.0" and "hf_handdiff" in card.data.tags
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "train-*-of-00003.parquet"}]
    for name in ("train_contact_sheet.jpg", "train_histograms.png"):
        assert f"(figures/{name})" in card.text and Image.open(corpus / "figures" / name).width > 500
    dataset = load_dataset(str(corpus), cache_dir=str(tmp_path))
    assert list(dataset) == ["train"] and len(dataset["train"]) == 10
    assert dataset["train"].features == CORPUS_FEATURES
    statistics = corpus_statistics(sorted(corpus.glob("*.parquet")))
    own = [row for row in samples if row["has_hand"]]
    assert isinstance(statistics, CorpusStatistics) and statistics.num_rows == 10
    np.testing.assert_allclose(statistics.visible_share, [row["visible_share"] for row in own], rtol=1e-6)
    np.testing.assert_array_equal(statistics.visible_joints, [sum(row["keypoints_visible"]) for row in own])


def test_directions_and_curl_are_what_they_say(assets):
    flat = assets.hand.pose(np.zeros((16, 3)), np.zeros(10)).joints
    palm_view = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    joints = (flat - flat.mean(0)) @ palm_view.T + [0.0, 0.0, 2.0]
    vector = roma.rotmat_to_rotvec(torch.from_numpy(palm_view)).numpy()
    around, toward_tips = viewing_direction(joints[None], vector[None])
    assert abs(around[0]) < 1.0 and abs(toward_tips[0]) < 0.02
    assert curl_deg(joints[None])[0] < 40.0


def test_other_settings_in_the_same_folder_are_refused(corpus):
    with pytest.raises(ValueError, match="seed 1, not 2"):
        write_corpus(corpus, 10, SEED + 1, shard_rows=4, progress=False)


@pytest.mark.parametrize("counts", [{"num_samples": 0}, {"num_workers": 0}, {"seed": -1}])
def test_bad_counts_are_named(tmp_path, counts):
    arguments = {"num_samples": 1, "seed": 0, "num_workers": 1, **counts}
    with pytest.raises(ValueError, match=next(iter(counts))):
        write_corpus(tmp_path, **arguments)


def test_a_failing_worker_is_reported(tmp_path):
    with pytest.raises(ValueError, match="split must be one of"):
        SceneAssets.load("holiday")
    with pytest.raises(RuntimeError, match="split must be one of"), tqdm(disable=True) as bar:
        processes._run_workers(partial(writer._work, "holiday"), [(tmp_path / "shard", 0, 0, 1)], 1, 1, bar)


def test_incomplete_corpora_are_named(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="no Parquet shards"):
        load_corpus(tmp_path)
    with pytest.raises(FileNotFoundError, match="not 'test'"):
        load_corpus(corpus, split="test")
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        load_corpus(tmp_path / "a" / "missing" / "folder")
    (tmp_path / "train-00000-of-00002.parquet").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="1 of the 2 shards"):
        load_corpus(tmp_path)


def test_command(tmp_path, capsys):
    command = ["data", "synthetic", "--out", str(tmp_path), "--num-samples", "2", "--seed", "1", "--quiet"]
    assert main(command) == 0
    assert "2 samples" in capsys.readouterr().out
    assert main([*command, "--shards", "0"]) == 0
    assert "shards 0:1" in capsys.readouterr().out
    assert build_parser().parse_args([*command, "--shards", "3:7"]).shards == range(3, 7)
    for wrong, words in ((["--shards", "first"], "expected shards as A:B"), (["--num-samples", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            main([*command, *wrong])
        assert words in capsys.readouterr().err
    assert main([*command, "--shards", "7:9"]) == 1
    assert "handdiff: error: shards: expected some of 0:1" in capsys.readouterr().err
