"""OHIF as it is built, in a headless Chromium, set up as docs/imaging.md says: it has the gateway alone.

The viewer stands at another origin than the gateway, isolated (COOP and COEP), as it does in a hospital.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from gateway.demo import environments
from gateway.demo.processes import MissingPeer
from tests.clients.conftest import HERE, ROOT
from tests.docs.pages import blocks
from tests.gateway.imaging.network import BRAIN, CHEST, KNEE, OLD, Imaging
from tests.nginx import nginx
from tests.peers import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("images")]

GREYS = [0, 85, 170, 255]
"""The quarters of every image, over the whole range of what a screen shows."""
QUARTERS = """canvas => {
  const drawn = canvas.getContext('2d'), side = canvas.height / 4;
  return [[-1, -1], [1, -1], [-1, 1], [1, 1]].map(([right, down]) =>
    drawn.getImageData(canvas.width / 2 + right * side, canvas.height / 2 + down * side, 1, 1).data[0]);
}"""
PANEL, THUMBNAIL = "[data-cy=studyBrowser-panel]", "[data-cy=study-browser-thumbnail]"
MODALITY = {BRAIN: "MR", OLD: "CT"}
DRAWN = """text => {
  const draw = some => {
    const canvas = document.createElement('canvas'), drawn = canvas.getContext('2d');
    drawn.font = '40px ' + getComputedStyle(document.body).fontFamily;
    drawn.fillText(some, 0, 60);
    return canvas.toDataURL();
  };
  return [...text].filter(one => draw(one) === draw('\ue000')).join('');
}"""
"""The characters of a text that are drawn as one that no font has."""
CHROMIUM = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="module")
def network(images: Imaging, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imaging]:
    """The network, with the viewer where its gateway says."""
    port = urlsplit(images.live.settings.viewer_url).port or 0
    with served(tmp_path_factory.mktemp("ohif"), port, images.live.url):
        yield images


@contextmanager
def served(folder: Path, port: int, gateway: str) -> Iterator[None]:
    """The viewer on this port, by the blocks of the page; only addresses and folders are this machine's."""
    with needed():
        environments.packages(HERE / "ohif", folder, "OHIF")
    page = blocks(ROOT / "docs/imaging.md")
    shown = {block.language: block.text for block in page if "ohif" in block.text}
    config = folder / "app-config.js"
    config.write_text(shown["js"].replace("https://gateway.example.org", gateway), encoding="utf-8")
    here = {
        "listen 3000": f"listen 127.0.0.1:{port}",
        "/usr/share/ohif/dist": str(folder / "node_modules/@ohif/app/dist"),
        "/etc/ohif/app-config.js": str(config),
    }
    server = re.sub("|".join(here), lambda place: here[place[0]], shown["nginx"])
    with nginx(folder, server, f"http://127.0.0.1:{port}/app-config.js"):
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if not program:
        with needed():
            raise MissingPeer("Chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
    yield page
    page.close()


def opened(page: Page, network: Imaging, **more: Any) -> dict[str, Any]:
    """A viewing, in the viewer by its link."""
    viewing = network.viewing(**more)
    page.goto(viewing["link"])
    return viewing


def day(network: Imaging, study: str) -> str:
    """The day of a study, as the viewer writes it."""
    held = next(held[study] for held in network.held.values() if study in held)
    return f"{datetime.strptime(held[0].StudyDate, '%Y%m%d'):%d-%b-%Y}"  # noqa: DTZ007 - a day


def shows(page: Page, study_day: str) -> None:
    """Wait until the viewer has drawn the pattern of a study of that day; fail with what it shows."""
    page.wait_for_selector(f"[data-cy=viewport-pane] >> text={study_day}", timeout=30_000)
    canvas = page.wait_for_selector("canvas.cornerstone-canvas", timeout=30_000)
    assert canvas is not None
    drawn: list[int] = []
    for _ in range(100):
        drawn = canvas.evaluate(QUARTERS)
        if all(abs(grey - expected) <= 3 for grey, expected in zip(drawn, GREYS, strict=True)):
            return
        page.wait_for_timeout(200)
    pytest.fail(f"the quarters are {drawn}: {page.inner_text('body')}")


def test_the_link_of_a_viewing_draws_the_relevant_prior_and_keeps_the_token_out_of_sight(
    network: Imaging, page: Page
) -> None:
    viewing = opened(page, network, planned=[{"name": "胸部CT平扫"}])
    shows(page, day(network, CHEST))
    assert viewing["token"] not in page.url


@pytest.mark.parametrize("prior", [BRAIN, OLD], ids=["of another hospital", "of an archive without frames"])
def test_a_prior_beside_the_open_study_is_opened_and_drawn(network: Imaging, page: Page, prior: str) -> None:
    opened(page, network, study_uid=network.uid(CHEST))
    shows(page, day(network, CHEST))
    page.locator(PANEL).get_by_text(day(network, prior)).click()
    page.locator(f"{PANEL} {THUMBNAIL}").nth(1).wait_for()
    page.locator(THUMBNAIL).filter(has_text=MODALITY[prior]).last.dblclick()
    shows(page, day(network, prior))
    assert "Multiple Patients" not in page.inner_text("body")


def test_the_study_list_is_of_all_archives_with_the_name_in_hanzi(network: Imaging, page: Page) -> None:
    viewing = opened(page, network, study_uid=network.uid(BRAIN))
    shows(page, day(network, BRAIN))
    page.locator("[data-cy=return-to-work-list]").click()
    rows = page.locator("[data-cy=study-list-results] table tr").filter(has_text=viewing["patient_id"])
    rows.nth(3).wait_for()
    listed = [" ".join(text.split()) for text in rows.all_inner_texts()]
    days = [day(network, study) for study in (BRAIN, CHEST, KNEE, OLD)]
    assert [shown in row for shown, row in zip(days, listed, strict=True)] == [True] * 4
    assert "示例, 患者㛃" in listed[0]
    if undrawn := page.evaluate(DRAWN, "示例患者㛃"):
        with needed():
            raise MissingPeer(f"a font with {undrawn}", "apt-get install fonts-wqy-zenhei")


def test_a_viewing_that_was_ended_shows_nothing_more(network: Imaging, page: Page) -> None:
    viewing = opened(page, network, study_uid=network.uid(BRAIN))
    shows(page, day(network, BRAIN))
    assert network.live.client().delete(f"/api/v1/viewings/{viewing['id']}").is_success
    page.locator("[data-cy=return-to-work-list]").click()
    page.get_by_text("No studies available").wait_for(timeout=20_000)
