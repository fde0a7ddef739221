"""One server and one browser for all tests of the Space; screenshots are kept in out/screenshots."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "space"
SCREENSHOTS = ROOT / "out" / "screenshots"
START_SECONDS = 240
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)

sys.path.insert(0, str(SPACE))


@pytest.fixture(scope="session")
def example():
    """The path of an example by its name."""
    return lambda name: str(SPACE / "examples" / f"{name}.jpg")


@pytest.fixture(scope="session")
def blank_photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "blank.png"
    Image.new("RGB", (400, 300), (127, 127, 127)).save(path)
    return str(path)


@pytest.fixture(scope="session")
def two_hands(tmp_path_factory, example):
    """A photo with a right hand at its left and a left hand at its right."""
    path = tmp_path_factory.mktemp("photos") / "two_hands.jpg"
    photo = Image.new("RGB", (448, 224))
    for number, name in enumerate(("7_flat", "6_left")):
        photo.paste(Image.open(example(name)), (224 * number, 0))
    photo.save(path, quality=95)
    return str(path)


@pytest.fixture(scope="session")
def pipeline():
    """The weights that come with the package."""
    from hf_handdiff.cli.loading import load_pipeline

    return load_pipeline()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """Where `python app.py` serves the page; SPACE_ADDRESS in the environment: test that one instead."""
    if "SPACE_ADDRESS" in os.environ:
        yield os.environ["SPACE_ADDRESS"].rstrip("/") + "/"
        return
    pytest.importorskip(
        "gradio", minversion="6.31", reason='the Space needs gradio 6.31: pip install "hf_handdiff[space]"'
    )
    log = tmp_path_factory.mktemp("space") / "log.txt"
    port = _free_port()
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(log.parent / "gradio"),
        "TMPDIR": str(log.parent),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
    }
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "app.py"], cwd=SPACE, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/", server, log)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def browser(tmp_path_factory, example):
    """Chromium without a window; its webcam shows one of the examples."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="tests in a browser need playwright: pip install playwright"
    )
    executable = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if executable is None:
        pytest.skip("tests in a browser need chromium: apt-get install chromium")
    film = tmp_path_factory.mktemp("webcam") / "hand.mjpeg"
    _write_film(film, example("1_horns"))
    with api.sync_playwright() as playwright:
        flags = [*BROWSER_FLAGS, f"--use-file-for-fake-video-capture={film}"]
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Open the page in a fresh context of a size; waits until the first example is answered."""
    contexts = []

    def open_at(width=1440, height=1000, dark=False):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            permissions=["camera"],
            accept_downloads=True,
        )
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.foreign_requests = []
        page.on("request", lambda request: _note_if_foreign(page, request.url, address))
        page.goto(address)
        page.wait_for_selector("#facts .facts")
        return page

    yield open_at
    for context in contexts:
        context.close()


@pytest.fixture
def keep_screenshot():
    """Keep a picture of the page, or of a part of it, as NAME.png; returns its pixels (H, W, 3)."""

    def keep(page_or_part, name, **options):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        page_or_part.screenshot(path=str(path), **options)
        return np.array(Image.open(path).convert("RGB"))

    return keep


def _note_if_foreign(page, url, address):
    if not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:")):
        page.foreign_requests.append(url)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the Space ended: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"the Space did not answer within {START_SECONDS} s: {log.read_text()[-2000:]}")


def _write_film(path: Path, photo: str) -> None:
    """A film of one still photo, as the fake webcam reads it: JPEG files one after the other."""
    still = Image.new("RGB", (640, 480), (90, 90, 90))
    still.paste(Image.open(photo).convert("RGB").resize((480, 480)), (80, 0))
    frame = path.with_suffix(".jpg")
    still.save(frame, quality=90)
    path.write_bytes(frame.read_bytes() * 10)
