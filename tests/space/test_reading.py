"""What a visitor or a program can send wrong is told in one sentence."""

import pytest

from hf_handdiff.errors import InputError

reading = pytest.importorskip("reading")  # space/ is put on the path by conftest.py
GOOD = {"side": "detect", "hypotheses": 5, "joint_steps": 10, "mesh_steps": 5, "seed": 7, "aggregation": "mean"}
WRONG_NUMBERS = [None, "text", "", float("nan"), float("inf"), 1.5, True, -1, 2**70, 10**5000, [1], {}]


def test_good_settings_are_read():
    settings = reading.read_settings(*(GOOD | {"hypotheses": 5.0}).values(), "base")
    assert settings.num_hypotheses == 5 and isinstance(settings.num_hypotheses, int)
    assert (settings.side, settings.steps, settings.mesh_steps, settings.seed) == ("detect", 10, 5, 7)


@pytest.mark.parametrize("name", ["hypotheses", "joint_steps", "mesh_steps", "seed"])
@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=lambda value: type(value).__name__)
def test_a_number_that_cannot_be_used_is_named(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected a whole number from") as refusal:
        reading.read_settings(*(GOOD | {name: value}).values(), "base")
    assert len(str(refusal.value)) < 160


@pytest.mark.parametrize("name", ["side", "aggregation"])
@pytest.mark.parametrize("value", [None, "sideways", 3, ["mean"], {}])
def test_a_word_that_is_unknown_is_named(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected one of"):
        reading.read_settings(*(GOOD | {name: value}).values(), "base")


@pytest.mark.parametrize("payload", ["text", 5, [], {}, {"path": None}, {"path": 5}, {"path": ""}])
def test_a_photo_that_is_no_upload_is_told(payload):
    with pytest.raises(InputError, match="^photo: expected a file that was uploaded"):
        reading.photo_source(payload)


def test_a_data_address_is_read_and_limited(monkeypatch):
    assert reading.photo_source({"url": "data:image/png;base64,aGFuZA=="}) == b"hand"
    assert reading.photo_source({"url": "data:image/png;base64,%%%"}) == b""  # refused as no photo
    monkeypatch.setattr(reading, "LARGEST_UPLOAD_MB", 0)
    with pytest.raises(InputError, match="too large"):
        reading.photo_source({"url": "data:image/png;base64," + "aGFuZA==" * 9})


@pytest.mark.parametrize("index", [None, 3, [1], [1, "2"], [1, float("nan")], [1e300, 0], {"x": 1}])
def test_a_click_that_is_nowhere_is_told(index):
    with pytest.raises(InputError, match="^click: expected x and y"):
        reading.clicked_place(index)


@pytest.mark.parametrize("payload", [None, "text", [], {"data": "text"}])
def test_a_table_that_is_none_is_told(payload):
    with pytest.raises(InputError, match="^keypoints: expected a table of 21 rows"):
        reading.table_rows(payload)


def test_a_checkpoint_is_told_by_a_public_name(tmp_path):
    pytest.importorskip("gradio")
    from app import public_name

    assert public_name(None) == "base" and public_name("owner/name") == "owner/name"
    assert str(tmp_path) not in public_name(str(tmp_path)) and tmp_path.name not in public_name(str(tmp_path))
