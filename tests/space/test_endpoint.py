"""The Space called by a program, through gradio_client."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(address, download_files=tmp_path_factory.mktemp("answers"), verbose=False)


def file(path):
    from gradio_client import handle_file

    return handle_file(path)


def test_there_is_one_endpoint(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/predict"]


def test_predict(client, example):
    glb, answer, picture = client.predict(file(example("6_left")), hypotheses=3, seed=7, api_name="/predict")
    answer = json.loads(open(answer).read()) if isinstance(answer, str) else answer
    assert answer["handedness"] == "left" and answer["seed"] == 7
    assert np.shape(answer["joints_m"]) == (3, 21, 3)
    assert len(trimesh.load(glb).geometry) == 4
    assert Image.open(picture["path"] if isinstance(picture, dict) else picture).size[0] >= 200


@pytest.mark.parametrize("side", ["detect", "right"])
def test_no_hand_is_an_error(client, blank_photo, side):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="No hand was found"):
        client.predict(file(blank_photo), side=side, api_name="/predict")


def test_no_photo_is_an_error(client):
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="no photo yet"):
        client.predict(None, api_name="/predict")
