"""Many at once on a Space of its own: answers that are right, files that are whole, bad values, and a clean end.

The long version is scripts/check_space_load.py.
"""

import base64
import importlib
import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
gradio = pytest.importorskip("gradio", minversion="6.31", reason="the Space needs gradio 6.31")


@pytest.fixture(scope="module")
def load():
    """The script, as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("check_space_load")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return tmp_path_factory.mktemp("stranger")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The temporary folder of the Space."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(load, stranger, folder):
    """A Space of its own, in whose temporary folder somebody has laid a link; its address and process."""
    treasure = stranger / "old"
    treasure.mkdir()
    os.utime(treasure, (time.time() - 172_800,) * 2)
    if hasattr(os, "getuid"):
        (folder / f"handdiff-space-{os.getuid()}").symlink_to(stranger)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    with load.served(ROOT / "space", folder, environment) as served:
        yield served
    # the rest is looked at after the end of the Space
    assert treasure.exists() and os.listdir(stranger) == ["old"]
    left = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not left & {".jpg", ".glb", ".json", ".png", ".svg"}, "files of visitors stay after the end"


@pytest.fixture(scope="module")
def address(server):
    return server[0]


@pytest.fixture
def client(load, address):
    with load.httpx.Client(base_url=address, timeout=60) as client:
        yield client


def upload(client, name, content):
    path = client.post("/gradio_api/upload", files={"files": (name, content)}).json()[0]
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def told(load, client, data):
    """The sentence that /predict answers with."""
    body = json.dumps({"data": data})  # with NaN, which httpx refuses to send
    joined = client.post("/gradio_api/call/predict", content=body, headers={"Content-Type": "application/json"})
    kind, content = load._last_event(client.get(f"/gradio_api/call/predict/{joined.json()['event_id']}").text)
    assert kind == "error"
    return json.loads(content)["error"]


def event(client, number, data, session="test", event_data=None):
    """Start an event of the page by its number; the message that brings its result, or says why there is none."""
    body = json.dumps({"fn_index": number, "data": data, "session_hash": session, "event_data": event_data})
    joined = client.post("/gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"})
    assert joined.status_code == 200, joined.text
    deadline = time.monotonic() + 60
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as messages:
        for line in messages.iter_lines():
            message = json.loads(line[6:]) if line.startswith("data: ") else {}
            if message.get("msg") in ("process_completed", "process_streaming"):  # streaming: it waits for more frames
                client.post(f"/gradio_api/stream/{joined.json()['event_id']}/close")
                return message
            assert time.monotonic() < deadline
    raise AssertionError("no end of the event")


def numbers_of(client, kind):
    """The numbers of the page's events of a kind, such as "change"."""
    dependencies = client.get("/config").json()["dependencies"]
    return [one["id"] for one in dependencies if any(target[1] == kind for target in one["targets"])]


def inline(image, format="PNG"):
    content = io.BytesIO()
    image.save(content, format)
    text = base64.b64encode(content.getvalue()).decode()
    return {"url": f"data:image/png;base64,{text}", "path": None, "meta": {"_type": "gradio.FileData"}}


def test_answers_at_once_are_those_alone(load, client, address):
    """To the bit: threads that share a scheduler were up to 250 mm off."""
    photos = sorted((ROOT / "space" / "examples").glob("*.jpg"))
    cases = [load.Case(photos[k], 1 + k, (4, 30)[k % 2], (2, 10)[k // 2], k) for k in range(4)]
    alone = {case: load.call(client, case)[0] for case in cases}
    tally = load.tally_calls(address, [[cases[(start + turn) % 4] for turn in range(3)] for start in range(4)], alone)
    assert (tally.lost, tally.wrong, tally.empty) == (0, 0, [])
    assert tally.answered == 12 and tally.largest_difference_m == 0.0


def test_no_file_is_written_a_second_time(load, client):
    """The same answer, and files of their own: who fetches the first while the second is written gets all of it."""
    case = load.Case(ROOT / "space" / "examples" / "7_flat.jpg", 1, 2, 2, 0)
    paths = [file["path"] for _ in range(2) for file in load.ask(client, case)[::2]]
    assert len(set(paths)) == 4
    whole = [load._bytes_of(client, {"path": path}) for path in paths]
    assert whole[1] == whole[3] and len(whole[1]) > 1000


def test_pictures_of_the_page_are_not_written_a_second_time(client, example):
    photo = upload(client, "photo.jpg", Path(example("7_flat")).read_bytes())
    (change,) = numbers_of(client, "change")
    asked = [None, True, "detect", 2, 2, 2, 0, "mean", photo]
    runs = [event(client, change, asked, f"visitor{k}")["output"]["data"] for k in range(2)]
    pictures = [[value["path"] for value in run if isinstance(value, dict) and "path" in value] for run in runs]
    assert len(pictures[0]) >= 4 and not set(pictures[0]) & set(pictures[1])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({5: 2**70}, "seed: expected a whole number"),
        ({5: float("nan")}, "seed: expected a whole number from 0 to 4294967295, got nan."),
        ({5: None}, "got nothing."),
        ({5: "text"}, "got “text”."),
        ({2: None}, "hypotheses: expected a whole number from 1 to 50, got nothing."),
        ({2: 51}, "hypotheses: expected a whole number from 1 to 50, got 51."),
        ({3: "many"}, "joint_steps: expected"),
        ({1: "sideways"}, "side: expected one of detect, right, left"),
        ({6: "best"}, "aggregation: expected one of"),
        ({0: "text"}, "The inputs of this call cannot be used"),
        ({0: {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}}, "The inputs of this call"),
        ({0: {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}}, "addresses are not fetched"),
        ({0: [{"path": "/etc/hostname"}]}, "The inputs of this call cannot be used"),
    ],
)
def test_bad_values_are_told(load, client, example, changed, sentence):
    data = [upload(client, "photo.jpg", Path(example("7_flat")).read_bytes()), "detect", 1, 2, 2, 0, "mean"]
    for place, value in changed.items():
        data[place] = value
    answered = told(load, client, data)
    assert sentence in answered and "\n" not in answered and "/" not in answered


@pytest.mark.parametrize("content", [b"", b"this is a text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.svg"])
def test_a_file_that_is_no_photo_is_told(load, client, name, content):
    data = [upload(client, name, content), "detect", 1, 2, 2, 0, "mean"]
    assert "cannot be read as a photo" in told(load, client, data)


def test_missing_inputs_are_told(load, client):
    assert "The inputs of this call cannot be used" in told(load, client, [None, "detect"])


def test_bad_values_on_the_page_are_told(client, example):
    photo = upload(client, "photo.jpg", Path(example("7_flat")).read_bytes())
    (change,) = numbers_of(client, "change")
    settings = [True, "detect", 1, 2, 2, 0, "mean"]
    refused = event(client, change, [None, True, "detect", None, 2, 2, 0, "mean", photo], "page")
    assert "hypotheses: expected" in refused["output"]["data"][-1]
    shown = event(client, change, [None, *settings, photo], "page")
    assert shown["success"] and "alert" not in shown["output"]["data"][-1]
    tables = [
        ([["wrist", 1.0]], "needs its 21 rows"),
        ([["wrist"]] * 21, "Keypoint wrist: expected a row of joint, x, y and score."),
        ([["wrist", "left", 2.0, 1.0]] * 21, "Keypoint wrist: expected a number of pixels"),
        ([["wrist", 1e300, 2.0, 1.0]] * 21, "Keypoint wrist: expected pixels from"),
    ]
    edit = next(number for number in numbers_of(client, "input") if _takes_a_table(client, number))
    for rows, sentence in tables:
        table = {"headers": ["joint", "x", "y", "score"], "data": rows, "metadata": None}
        refused = event(client, edit, [None, *settings, table], "page")
        assert sentence in refused["output"]["data"][-1]
    (select,) = [number for number in numbers_of(client, "select")]
    refused = event(client, select, [None, *settings], "page", {"index": "text", "value": None})
    assert "click: expected x and y" in refused["output"]["data"][-1]


def _takes_a_table(client, number):
    config = client.get("/config").json()
    kinds = {component["id"]: component["type"] for component in config["components"]}
    inputs = next(one["inputs"] for one in config["dependencies"] if one["id"] == number)
    return "dataframe" in [kinds[one] for one in inputs]


def test_the_live_tab_does_not_decode_a_huge_frame(client, server):
    """13,000 px by 13,000 px in 20 KB took 2.3 GB."""
    (stream,) = numbers_of(client, "stream")
    before = server[1].memory_info().rss
    answered = event(client, stream, [inline(Image.new("1", (13_000, 13_000))), None, "detect", 1], "live")
    assert "too large" in answered["output"]["data"][-1]
    assert server[1].memory_info().rss - before < 200e6


def test_live_frames_leave_no_file(client, folder, example):
    (stream,) = numbers_of(client, "stream")
    before = {path for path in folder.rglob("*") if path.is_file()}
    frame = Image.open(example("1_horns")).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    answered = event(client, stream, [inline(frame), None, "detect", 1], "live2")["output"]["data"]
    assert answered[1]["url"].startswith("data:image/jpeg") and "right hand" in answered[3]
    assert {path for path in folder.rglob("*") if path.is_file()} == before


def test_the_answer_does_not_name_a_folder_of_the_server(load, client):
    case = load.Case(ROOT / "space" / "examples" / "7_flat.jpg", 1, 2, 2, 0)
    answer = load.ask(client, case)[1]
    assert answer["checkpoint"] == answer["settings"]["checkpoint"] == "base"
    assert np.shape(answer["joints_m"]) == (1, 21, 3)
