"""The page in a browser: upload, answer, 3D view, settings, keypoints, messages, webcam, phone."""

import json
import time

import numpy as np
import pytest

pytestmark = pytest.mark.slow
NUM_JOINTS = 21
VIEW_SECONDS = 60


def upload(page, path):
    """Put another photo in the place of the one that is there."""
    page.locator("#photo").get_by_label("Remove Image").click()
    page.locator("#photo [data-testid=file-upload]").set_input_files(path)


def wait_for_facts(page, before, text=""):
    """Wait until the line of facts is of another answer than before, and holds a text."""
    page.wait_for_function(
        """([before, text]) => {
            const facts = document.querySelector("#facts .facts");
            return facts && facts.dataset.answered !== before && facts.innerText.includes(text);
        }""",
        arg=[before, text],
    )


def facts(page):
    """Which answer the line of facts is of."""
    return page.locator("#facts .facts").get_attribute("data-answered")


def answer_of(page):
    """The content of the JSON file that the page offers."""
    with page.expect_download() as download:
        page.locator("#json").click()
    return json.loads(open(download.value.path()).read())


def set_slider(page, elem_id, value):
    field = page.locator(f"#{elem_id} input[type=number]")
    field.fill(str(value))
    field.press("Enter")


def shown_in_3d(pixels):
    """The share of a picture of the 3D view that is not its background."""
    background = np.median(pixels[10:-10, 10:30].reshape(-1, 3), axis=0)
    return float((np.abs(pixels.astype(int) - background).max(axis=-1) > 25).mean())


def view_when(page, keep_screenshot, name, ready):
    """Pixels of the 3D view as soon as they are ready: it loads its file and draws by itself, after the answer."""
    deadline = time.monotonic() + VIEW_SECONDS
    page.locator("#view").scroll_into_view_if_needed()
    while True:
        pixels = keep_screenshot(page.locator("#view canvas"), name)
        if ready(pixels) or time.monotonic() > deadline:
            return pixels
        page.wait_for_timeout(500)


def test_upload_answer_and_settings(open_page, keep_screenshot, example):
    page = open_page()
    keep_screenshot(page, "desktop_first_visit", full_page=True)
    before = facts(page)
    upload(page, example("7_flat"))
    wait_for_facts(page, before, "right hand")

    view = view_when(page, keep_screenshot, "view_20_hypotheses", lambda pixels: shown_in_3d(pixels) > 0.05)
    assert shown_in_3d(view) > 0.05
    record = answer_of(page)
    assert np.shape(record["joints_m"]) == (20, NUM_JOINTS, 3)
    assert page.locator("#errors td").count() == NUM_JOINTS - 1

    before = facts(page)
    set_slider(page, "hypotheses", 1)
    wait_for_facts(page, before, "1\nhypotheses")

    def differs(pixels):
        return shown_in_3d(pixels) > 0.05 and np.abs(pixels.astype(int) - view).mean() > 0.5

    single = view_when(page, keep_screenshot, "view_1_hypothesis", differs)
    assert differs(single)
    fewer = answer_of(page)
    assert np.allclose(fewer["joints_m"], record["joints_m"][:1], atol=1e-5)  # hypothesis k stays what it is

    with page.expect_download() as download:
        page.locator("#glb").click()
    assert open(download.value.path(), "rb").read(4) == b"glTF"
    keep_screenshot(page, "desktop_upload", full_page=True)
    assert page.foreign_requests == []


def test_keypoints_are_edited_by_clicks_and_marked_as_not_seen(open_page, keep_screenshot):
    page = open_page()
    before, seen = facts(page), answer_of(page)
    picture = page.locator("#keypoint-picture img")
    picture.scroll_into_view_if_needed()
    size = picture.bounding_box()
    picture.click(position={"x": 0.5 * size["width"], "y": 0.5 * size["height"]})
    page.wait_for_function("document.querySelector('#joint input').value !== ''")
    name = page.locator("#joint input").input_value().replace(" ", "_")
    keep_screenshot(page.locator("#keypoint-picture"), "keypoint_picked")
    picture.click(position={"x": 0.8 * size["width"], "y": 0.2 * size["height"]})
    wait_for_facts(page, before)
    moved = answer_of(page)
    changed = np.abs(np.array(moved["keypoints_2d_px"]) - seen["keypoints_2d_px"]).max(axis=-1) > 1e-3
    assert changed.sum() == 1 and np.abs(np.array(moved["mean_joints_m"]) - seen["mean_joints_m"]).max() > 1e-3
    keep_screenshot(page, "desktop_keypoint_moved", full_page=True)

    before = facts(page)
    picture.click(position={"x": 0.8 * size["width"], "y": 0.2 * size["height"]})
    page.wait_for_function("document.querySelector('#joint input').value !== ''")
    assert page.locator("#joint input").input_value().replace(" ", "_") == name
    page.locator("#hide").click()
    wait_for_facts(page, before)
    assert answer_of(page)["keypoints_2d_px"][int(np.argmax(changed))] == [None, None]

    before = facts(page)
    page.locator("#estimate").click()
    wait_for_facts(page, before)
    assert np.allclose(answer_of(page)["joints_m"], seen["joints_m"], atol=1e-5)


def test_messages(open_page, keep_screenshot, blank_photo):
    page = open_page()
    upload(page, blank_photo)
    alert = page.locator("#note [role=alert]")
    alert.wait_for()
    assert "No hand was found" in alert.inner_text()
    keep_screenshot(page, "desktop_no_hand")
    page.locator("#photo").get_by_label("Remove Image").click()
    page.wait_for_function("!document.querySelector('#facts .facts')")
    page.locator("#run").click()
    alert.wait_for()
    assert "no photo yet" in alert.inner_text()
    keep_screenshot(page, "desktop_no_photo")


def test_two_hands_can_be_chosen(open_page, keep_screenshot, two_hands):
    page = open_page()
    before = facts(page)
    upload(page, two_hands)
    wait_for_facts(page, before)
    first, before = answer_of(page), facts(page)
    page.locator("#chosen label").nth(1).click()
    wait_for_facts(page, before)
    assert np.abs(np.array(answer_of(page)["box_px"]) - first["box_px"]).max() > 5
    keep_screenshot(page, "desktop_two_hands", full_page=True)


def test_live_webcam(open_page, keep_screenshot):
    page = open_page()
    page.get_by_role("tab", name="Live webcam").click()
    page.locator("#camera").get_by_text("Click to Access Webcam").click()
    page.locator("#camera").get_by_label("capture photo").click()  # its text is Record
    page.wait_for_selector("#live-facts .facts")
    assert (
        "right hand" in page.locator("#live-facts").inner_text()
    )  # the camera's picture is mirrored, its sides are not
    page.wait_for_selector("#live-answer img")
    pixels = keep_screenshot(page.locator("#live-answer img"), "live_answer")
    assert pixels.std() > 20
    keep_screenshot(page, "desktop_live", full_page=True)


def test_phone(open_page, keep_screenshot):
    page = open_page(390, 844, dark=True)
    page.locator("#keypoint-picture").scroll_into_view_if_needed()  # pictures are fetched when they come into sight
    page.wait_for_function("document.querySelector('#keypoint-picture img').naturalWidth > 0")
    view_when(page, keep_screenshot, "phone_canvas", lambda pixels: shown_in_3d(pixels) > 0.05)
    keep_screenshot(page, "phone_view")
    keep_screenshot(page, "phone_first_visit", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#view canvas").bounding_box()["width"] <= 390
