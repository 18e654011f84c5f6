"""The admin in a real Chromium: people get their work done, and no page breaks its own CSP."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.conf import LazySettings
from django.contrib.auth import get_user_model
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from executor import runner
from tests import factories, world
from tests.signed_in import page as address

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
PASSWORD = "correct horse"
MODELS = (
    "campaign campaignrun category channel contactpolicy creative flow offer placement"
    " qualificationrule schema segment subcategory tenant membership apikey tick deadletter"
)
READ_ONLY = ("campaignrun", "schema", "tenant", "membership", "tick", "deadletter")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium executable on the PATH"),
]


@dataclass(frozen=True)
class Desk:
    """A browser page at the admin, and everything it complained of."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def sign_in(self, name: str) -> None:
        self.open("/admin/")
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", PASSWORD)
        self.page.click("button[type=submit]")
        expect(self.page.locator("#nav-sidebar-inner")).to_be_visible()


@pytest.fixture
def bank(clean_relations: None, settings: LazySettings) -> world.World:
    """A tenant with a completed run, and one person of every role, all with one password."""
    settings.KAIREON_INLINE_FALLBACK = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    built = world.build(200, k=2)
    assert runner.execute(built.run(max_per_offer=60).pk)
    for role in ("viewer", "editor", "admin"):
        user = get_user_model().objects.create_user(role, password=PASSWORD, is_staff=True)
        factories.MembershipFactory(user=user, tenant=built.tenant, role=role)
    return built


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS.split())
        yield browser
        browser.close()


@pytest.fixture
def desk(bank: world.World, live_server: LiveServer, chromium: Browser) -> Iterator[Desk]:
    """Fails the test afterwards if a page logged an error or asked another host for anything."""
    desk = Desk(chromium.new_page(), live_server.url)
    listen = desk.complaints.append
    desk.page.on("console", lambda m: listen(m.text) if m.type in ("error", "warning") else None)
    desk.page.on("pageerror", lambda error: listen(str(error)))
    own = (live_server.url, "data:")
    desk.page.on("request", lambda r: None if r.url.startswith(own) else listen(r.url))
    yield desk
    assert desk.complaints == []


def test_every_page_is_clean(desk: Desk) -> None:
    desk.sign_in("admin")
    for model in MODELS.split():
        desk.open(address(model, "changelist"))
        expect(desk.page.locator("#changelist")).to_be_visible()
        rows = desk.page.locator("#result_list tbody th a, #result_list tbody .field-number a")
        if rows.count():
            rows.first.click()
            expect(desk.page.locator("#content")).to_be_visible()
        if model not in READ_ONLY:
            desk.open(address(model, "add"))
            expect(desk.page.get_by_role("button", name="Save", exact=True)).to_be_visible()


def test_editor_runs_a_campaign(desk: Desk, bank: world.World) -> None:
    desk.sign_in("editor")
    page = desk.page
    page.get_by_role("link", name="Campaigns", exact=True).last.click()
    page.locator(".field-actions_holder span").first.click()
    page.get_by_role("link", name="Run now").click()
    expect(page.get_by_text('Run "Weekly Cards" now?')).to_be_visible()
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("Run 2 of Weekly Cards is requested.")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text("waits for worker")).to_be_visible()


def test_run_page_shows_and_hands_out_results(desk: Desk, bank: world.World) -> None:
    desk.sign_in("viewer")
    page = desk.page
    desk.open(address("campaign", "changelist"))
    page.get_by_role("link", name="#1").click()
    for title in ("Files", "Offers", "Channels", "Funnel", "Volume limits", "Recommendations"):
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name=".csv").click()
    assert download.value.path().read_bytes().startswith(b"customer_id,offer_name,channel,score")
    recommendations = page.locator("#recommendations .data-row")
    first = recommendations.first.inner_text()
    page.get_by_role("link", name="Next").click()
    expect(recommendations.first).not_to_have_text(first, use_inner_text=True)
    page.get_by_label("Customer", exact=True).fill("C0000001")
    page.get_by_role("button", name="Find").click()
    expect(recommendations.first).to_contain_text("C0000001")
    expect(page.get_by_role("link", name="Run again")).to_have_count(0)


def test_faults_are_shown_on_their_field(desk: Desk, bank: world.World) -> None:
    desk.sign_in("editor")
    page = desk.page
    desk.open(address("campaign", "change", bank.campaign.pk))
    page.select_option("#id_schedule_type", "weekly")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("A weekly schedule needs a day")).to_be_visible()
    page.select_option("#id_schedule_day_of_week", "1")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
