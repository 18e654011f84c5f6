"""The readers of the API's description in a real Chromium."""

import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from campaigns.api.documentation import OPENAPI
from tests.factories import TenantFactory, api_key

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium executable on the PATH"),
]


@pytest.fixture
def key(transactional_db: None) -> str:
    return api_key(TenantFactory(), "viewer")


@pytest.fixture
def page(key: str, live_server: LiveServer) -> Iterator[Page]:
    """Fails the test afterwards if the page logged an error or got anything from another host."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page()
        page.on("console", lambda m: complain(m, complaints))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "requestfinished", lambda request: elsewhere(request.url, live_server.url, complaints)
        )
        yield page
        browser.close()
    assert complaints == []


def complain(message: ConsoleMessage, complaints: list[str]) -> None:
    # Redoc's badge would come from its maker's server; the page's policy does not let it.
    if message.type == "error" and "cdn.redoc.ly" not in message.text:
        complaints.append(message.text)


def elsewhere(url: str, own: str, complaints: list[str]) -> None:
    if not url.startswith((own, "data:", "blob:")):
        complaints.append(f"got {url}")


def test_swagger_ui_shows_all_and_tries_one(page: Page, live_server: LiveServer, key: str) -> None:
    page.goto(f"{live_server.url}/api/v1/docs")
    paths = json.loads(OPENAPI.read_text())["paths"].values()
    tags = {tag for path in paths for operation in path.values() for tag in operation["tags"]}
    expect(page.locator(".opblock-tag")).to_have_count(len(tags))
    page.click("button.authorize")
    page.fill("input[aria-label='auth-bearer-value']", key)
    page.locator(".auth-container .authorize").first.click()
    page.click("button.btn-done")
    page.locator("#operations-tag-runs").click()
    listing = page.locator("#operations-runs-runs_list")
    listing.click()
    listing.get_by_role("button", name="Try it out").click()
    listing.get_by_role("button", name="Execute").click()
    status = listing.locator(".live-responses-table .response .response-col_status")
    expect(status.first).to_contain_text("200")


def test_redoc_shows_all(page: Page, live_server: LiveServer) -> None:
    page.goto(f"{live_server.url}/api/v1/redoc")
    # It renders the whole description at once, which takes a busy machine some seconds.
    expect(page.locator("h1").first).to_contain_text("kaireon", timeout=60_000)
    expect(page.locator("[data-section-id='tag/runs']").first).to_be_visible(timeout=60_000)
