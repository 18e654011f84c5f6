"""The limit of requests per caller: counted in Redis if there is one, never in the way of work."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rest_framework.test import APIClient

from kaireon.access.models import Tenant
from kaireon.access.throttle import LEFT_ALONE, CallerThrottle
from tests import factories
from tests.brokers import valkey
from tests.clients import api_client, error
from tests.processes import environment, wait_until, web_server

URL = "/api/v1/offers"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Three requests a minute; the time is what the test says."""
    now = [1000.0]
    monkeypatch.setitem(CallerThrottle.THROTTLE_RATES, "caller", "3/min")
    monkeypatch.setattr(CallerThrottle, "timer", lambda _: now[0])
    return now


def statuses(client: APIClient, count: int) -> list[int]:
    return [client.get(URL).status_code for _ in range(count)]


def test_one_request_too_many_is_429_and_says_when_to_come_back(
    tenant: Tenant, clock: list[float]
) -> None:
    client = api_client(tenant)
    assert statuses(client, 2) == [200, 200]
    clock[0] += 20.5
    assert statuses(client, 1) == [200]
    response = client.get(URL)
    assert response.status_code == 429
    assert error(response)["code"] == "rate_limited"
    assert response["Retry-After"] == "40"
    clock[0] += 40
    assert statuses(client, 3) == [200, 200, 429]


def test_seconds_to_wait_are_at_least_one(tenant: Tenant, clock: list[float]) -> None:
    client = api_client(tenant)
    assert statuses(client, 3) == [200, 200, 200]
    clock[0] += 59.999
    assert client.get(URL)["Retry-After"] == "1"


def test_limit_that_was_lowered_still_says_when_to_come_back(
    tenant: Tenant, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = api_client(tenant)
    for _ in range(3):
        assert statuses(client, 1) == [200]
        clock[0] += 10
    monkeypatch.setitem(CallerThrottle.THROTTLE_RATES, "caller", "1/min")
    assert client.get(URL)["Retry-After"] == "50"


def test_other_callers_are_not_concerned(tenant: Tenant, clock: list[float]) -> None:
    assert statuses(api_client(tenant), 4) == [200, 200, 200, 429]
    assert statuses(api_client(tenant), 1) == [200]
    first, second = (factories.MembershipFactory(tenant=tenant).user for _ in range(2))
    for user in (first, second):
        client = APIClient()
        client.force_login(user)
        assert statuses(client, 4) == [200, 200, 200, 429]


def test_refused_writes_do_nothing(tenant: Tenant, clock: list[float]) -> None:
    client = api_client(tenant)
    made = [client.post(URL, {"name": name}, format="json").status_code for name in "abcd"]
    assert made == [201, 201, 201, 429]


def ask(address: str, key: str) -> tuple[int, float, dict[str, str]]:
    """The status of a request, how long it took, and its headers."""
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{address}{URL}", headers=headers)  # noqa: S310
    start = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            json.load(answer)
            return answer.status, time.monotonic() - start, dict(answer.headers)
    except urllib.error.HTTPError as refused:
        return refused.status, time.monotonic() - start, dict(refused.headers)


def test_requests_pass_while_redis_is_frozen_or_gone(
    transactional_db: None, tmp_path: Path
) -> None:
    key = factories.api_key(factories.TenantFactory())
    with valkey() as broker:
        env = {"REDIS_URL": broker.url, "KAIREON_REQUESTS_PER_MINUTE": "2"}
        env = environment(KAIREON_VAR=str(tmp_path), **env)
        with web_server(env, tmp_path / "web.log") as (address, _):
            assert [ask(address, key)[0] for _ in range(2)] == [200, 200]
            status, _, headers = ask(address, key)
            assert (status, 1 <= int(headers["Retry-After"]) <= 60) == (429, True)
            broker.freeze()
            pass_at_once(address, key)
            broker.thaw()
            wait_until(lambda: ask(address, key)[0] == 429)
            broker.kill()
            pass_at_once(address, key)


def pass_at_once(address: str, key: str) -> None:
    for _ in range(3):
        status, seconds, _ = ask(address, key)
        assert (status, seconds < 1) == (200, True), seconds


def test_a_cache_that_failed_is_left_alone_for_a_while(
    tenant: Tenant, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = api_client(tenant)
    assert statuses(client, 4) == [200, 200, 200, 429]
    monkeypatch.setattr(CallerThrottle, "failed_at", time.monotonic())
    assert statuses(client, 2) == [200, 200]
    monkeypatch.setattr(CallerThrottle, "failed_at", time.monotonic() - LEFT_ALONE)
    assert statuses(client, 1) == [429]
