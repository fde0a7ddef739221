import io

import datasets
import numpy as np
import pyarrow.parquet as parquet
import pytest
from datasets import Dataset
from PIL import Image

from hf_handdiff.data.corpus import load_corpus, mix_corpora, read_settings
from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.errors import InputError


def picture_bytes(kind="PNG"):
    picture = io.BytesIO()
    Image.new("RGB", (16, 16), (128, 128, 128)).save(picture, kind)
    return picture.getvalue()


def write_corpus(folder, name, rows, image=None, features=CORPUS_FEATURES, **more):
    """A corpus of gray pictures, or of `image`, whose rows are called name/0, name/1, ..."""
    image = image or {"bytes": picture_bytes(), "path": None}
    shapes = {"keypoints_2d_px": (21, 2), "joints_m": (21, 3), "vertices_m": (778, 3)}
    shapes |= {"intrinsics_px": (3, 3), "pose_rad": (16, 3)}
    row = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    row |= {"image": image, "has_hand": True, "keypoints_visible": [True] * 21}
    row |= {"shape": [0.0] * 10, "translation_m": [0.0] * 3, "visible_share": 1.0, "skin_tone": 0.5}
    columns = {key: [value] * rows for key, value in (row | more).items()}
    columns["sample_id"] = [f"{name}/{index}" for index in range(rows)]
    folder.mkdir()
    Dataset.from_dict(columns, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    return {name: write_corpus(root / name, name, 200) for name in ("one", "two")}


@pytest.mark.parametrize("streaming", [False, True])
def test_corpora_are_mixed_by_weight(corpora, streaming):
    weights = {str(corpora["one"]): 3.0, str(corpora["two"]): 1.0}
    names = [row["sample_id"].split("/")[0] for row in mix_corpora(weights, seed=1, streaming=streaming)]
    assert names.count("one") == 200  # until one has no more rows
    assert 40 < names.count("two") < 95


def test_processes_share_a_mixture_without_overlap(corpora):
    weights = {str(folder): 1.0 for folder in corpora.values()}
    whole = [row["sample_id"] for row in mix_corpora(weights)]
    shares = [[row["sample_id"] for row in mix_corpora(weights, rank=rank, world_size=2)] for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == sorted(whole)
    assert abs(len(shares[0]) - len(shares[1])) <= 1


@pytest.mark.parametrize("weights", [{}, {"x/y": 0.0}, {"x/y": -1.0}])
def test_mixtures_without_weight_are_refused(weights):
    with pytest.raises(ValueError, match="corpora: expected at least one path with a positive weight"):
        mix_corpora(weights)


def test_streaming_reads_the_same_rows(corpora):
    plain = load_corpus(corpora["one"], "train")
    streamed = list(load_corpus(corpora["one"], "train", streaming=True))
    assert [row["sample_id"] for row in streamed] == plain["sample_id"][:]


def test_a_missing_shard_is_named(corpora, tmp_path):
    (tmp_path / "train-00000-of-00002.parquet").write_bytes(
        (corpora["one"] / "train-00000-of-00001.parquet").read_bytes()
    )
    with pytest.raises(FileNotFoundError, match="holds 1 of the 2 shards of 'train'"):
        load_corpus(tmp_path, "train")


@pytest.mark.parametrize("streaming", [False, True])
def test_an_eps_in_a_row_is_refused_and_starts_no_program(tmp_path, called_programs, streaming):
    folder = write_corpus(tmp_path / "eps", "eps", 2, image={"bytes": picture_bytes("EPS"), "path": None})
    mixed = mix_corpora({str(folder): 1.0}, streaming=streaming)
    for rows in (load_corpus(folder, "train", streaming), mixed.with_format("torch")):
        with pytest.raises(InputError, match="not an image of a format that is read: JPEG, PNG"):
            next(iter(rows))
    assert not called_programs()


@pytest.mark.parametrize("streaming", [False, True])
def test_paths_in_rows_are_not_followed(tmp_path, streaming):
    (tmp_path / "private.png").write_bytes(picture_bytes())
    image = {"bytes": picture_bytes(), "path": None}
    folder = write_corpus(tmp_path / "paths", "paths", 2, image=image)
    file = folder / "train-00000-of-00001.parquet"
    table = Dataset.from_parquet(str(file)).cast_column("image", datasets.Image(decode=False)).to_list()
    for row in table:
        row["image"] = {"bytes": None, "path": str(tmp_path / "private.png")}
    columns = {name: [row[name] for row in table] for name in CORPUS_FEATURES}
    arrow = Dataset.from_dict(columns, features=CORPUS_FEATURES).data.table  # `to_parquet` would put the bytes in
    parquet.write_table(arrow, file)
    with pytest.raises(InputError, match="holds no image"):
        next(iter(load_corpus(folder, "train", streaming)))


@pytest.mark.parametrize("streaming", [False, True])
def test_no_other_column_is_decoded(tmp_path, called_programs, streaming):
    features = datasets.Features({**CORPUS_FEATURES, "mask": datasets.Image()})
    mask = {"bytes": picture_bytes("EPS"), "path": None}
    folder = write_corpus(tmp_path / "mask", "mask", 2, features=features, mask=mask)
    row = next(iter(load_corpus(folder, "train", streaming)))
    assert set(row) == set(CORPUS_FEATURES) and row["image"].size == (16, 16)
    assert not called_programs()


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_settings_that_are_none_are_said(tmp_path, text):
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(InputError, match="data: .*test.json"):
        read_settings(tmp_path, "test")
