"""Metrics of the history in grouped SQL, against counting by hand."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from executor.flow.inputs import Metric
from executor.flow.outcomes import OUTCOMES
from executor.history import history_sql
from kaireon.access.models import Tenant
from tests import factories, past

NOW = datetime(2026, 3, 22, 12, tzinfo=UTC)
HELD_RUN = 3
WORDS = ["accept", "Complaint", "hard_bounce", "impression", "", "Click"]
TYPES = ["impression", "Response", "unsubscribe"]


def found(tenant: Tenant, *metrics: Metric) -> dict[str, tuple[Any, ...]]:
    """Customer -> the values of the metrics."""
    with connection.cursor() as cursor:
        statement = history_sql(tenant.pk, NOW, metrics)
        cursor.execute(statement.as_string(cursor.cursor))
        return {row[0]: row[1:] for row in cursor.fetchall()}


def plan_of(tenant: Tenant, *metrics: Metric) -> str:
    with connection.cursor() as cursor:
        statement = history_sql(tenant.pk, NOW, metrics).as_string(cursor.cursor)
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(line for (line,) in cursor.fetchall())


class Past:
    """A random history, kept as rows that a loop can count."""

    def __init__(self, tenant: Tenant, seed: int) -> None:
        self.random = random.Random(seed)
        self.contacts = [self.event() | {"run_id": self.random.randint(1, 4)} for _ in range(300)]
        self.interactions = [self.event() | self.answer() for _ in range(300)]
        past.contacts(tenant, self.contacts)
        past.interactions(tenant, self.interactions)

    def event(self) -> dict[str, Any]:
        pick = self.random.choice
        minutes = pick([-60, -1, 0, 1, 60, 60 * 24, 60 * 24 * 7, self.random.randint(0, 90_000)])
        return {
            "customer_key": f"C{self.random.randint(1, 30)}",
            "at": NOW - timedelta(minutes=minutes),
            "offer_id": self.random.randint(1, 4),
            "channel_id": self.random.randint(1, 2),
            "creative_id": pick([None, 1, 2]),
            "campaign_id": self.random.randint(1, 3),
        }

    def answer(self) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "interaction_type": pick(TYPES),
            "outcome": pick(WORDS),
            "channel_id": pick([None, 1, 2]),
            "campaign_id": pick([None, 1, 2, 3]),
        }

    def metric(self) -> Metric:
        pick = self.random.choice
        source = pick(["contacts", "impressions", "outcomes"])

        def some(most: int) -> tuple[int, ...]:
            return tuple(sorted(self.random.sample(range(1, most + 1), pick([0, 0, 1, 2]))))

        words = [(), ("complaint",), ("COMPLAINT", "hard_bounce"), OUTCOMES["positive"]]
        return Metric(
            source,
            pick(["count", "last"]),
            since=pick([None, NOW - timedelta(days=1), NOW - timedelta(minutes=60), NOW]),
            outcomes=pick(words) if source == "outcomes" else (),
            offers=some(4),
            channels=some(2),
            creatives=some(2),
            campaigns=some(3),
            without_campaigns=some(3),
        )

    def expected(self, metric: Metric, customer: str) -> float | None:
        rows = [row for row in self.rows(metric) if row["customer_key"] == customer]
        if metric.aggregate == "count":
            return len(rows)
        return min(((NOW - row["at"]).total_seconds() for row in rows), default=None)

    def rows(self, metric: Metric) -> list[dict[str, Any]]:
        if metric.source == "contacts":
            rows = [row for row in self.contacts if row["run_id"] != HELD_RUN]
        else:
            rows = [row for row in self.interactions if counted(metric, row)]
        return [row for row in rows if wanted(metric, row)]


def counted(metric: Metric, row: dict[str, Any]) -> bool:
    word = (row["outcome"] or row["interaction_type"]).lower()
    if metric.source == "impressions":
        return "impression" in (word, row["interaction_type"])
    return word != "impression" and (
        not metric.outcomes or word in [outcome.lower() for outcome in metric.outcomes]
    )


def wanted(metric: Metric, row: dict[str, Any]) -> bool:
    named = [
        (metric.offers, "offer_id"),
        (metric.channels, "channel_id"),
        (metric.creatives, "creative_id"),
        (metric.campaigns, "campaign_id"),
    ]
    return (
        row["at"] <= NOW
        and (metric.since is None or row["at"] >= metric.since)
        and all(not keys or row[name] in keys for keys, name in named)
        and row["campaign_id"] not in metric.without_campaigns
    )


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_counting_by_hand(tenant: Tenant, seed: int) -> None:
    history = Past(tenant, seed)
    past.hold(HELD_RUN, NOW)
    others = factories.TenantFactory()
    past.contacts(others, [{"customer_key": "C1", "at": NOW}])
    for size in (1, 1, 2, 3, 12):
        metrics = list(dict.fromkeys(history.metric() for _ in range(size)))
        values = found(tenant, *metrics)
        for place, metric in enumerate(metrics):
            for customer in [f"C{number}" for number in range(32)]:
                absent = 0 if metric.aggregate == "count" else None
                value = values[customer][place] if customer in values else absent
                assert value == history.expected(metric, customer), (metric, customer)


def test_what_is_after_the_instant_of_the_run_does_not_count(tenant: Tenant) -> None:
    rows = [{"customer_key": "A", "at": NOW}]
    past.contacts(tenant, [*rows, {"customer_key": "A", "at": NOW + timedelta(microseconds=1)}])
    assert found(tenant, Metric("contacts"), Metric("contacts", "last")) == {"A": (1, 0.0)}


def test_a_held_contact_counts_once_it_is_true(tenant: Tenant) -> None:
    past.contacts(tenant, [{"customer_key": "A", "at": NOW, "run_id": 7}])
    past.hold(7, NOW)
    assert found(tenant, Metric("contacts")) == {}
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM campaigns_contacthold")
    assert found(tenant, Metric("contacts")) == {"A": (1,)}


def test_reads_only_the_months_that_may_count(tenant: Tenant) -> None:
    months = [NOW, NOW - timedelta(days=40), NOW - timedelta(days=80)]
    past.contacts(tenant, [{"customer_key": "A", "at": at} for at in months])
    soon, late = NOW - timedelta(days=2), NOW - timedelta(days=30)
    plan = plan_of(tenant, Metric("contacts", since=soon), Metric("contacts", since=late))
    assert "campaigns_contact_y2026m03" in plan
    assert "campaigns_contact_y2026m02" in plan
    assert "campaigns_contact_y2026m01" not in plan
    assert "campaigns_interaction" not in plan
    assert "campaigns_contact_y2026m01" in plan_of(tenant, Metric("contacts"))


def test_every_word_counts_in_no_more_than_one_list_but_converts() -> None:
    listed = [*OUTCOMES["positive"], *OUTCOMES["negative"], *OUTCOMES["neutral"]]
    assert len(set(listed)) == len(listed)
    assert set(OUTCOMES["converts"]) < set(OUTCOMES["positive"])
    assert all(word == word.lower() and word != "impression" for word in listed)
