"""What customers have had and how they answered, as columns beside the frozen customers.

One grouped read of the contacts and interactions of a tenant gives every metric of a plan. Only
contacts that are true count, and only what happened up to the instant of the run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from psycopg import sql

from executor.flow.inputs import Metric
from executor.flow.outcomes import IMPRESSION, words

#: The columns of events by which a metric may be narrowed.
_KEYS: tuple[tuple[str, Callable[[Metric], tuple[int, ...]]], ...] = (
    ("offer_id", lambda metric: metric.offers),
    ("channel_id", lambda metric: metric.channels),
    ("creative_id", lambda metric: metric.creatives),
    ("campaign_id", lambda metric: metric.campaigns),
)
_WORD = sql.SQL('lower((coalesce(nullif(outcome, {empty}), interaction_type))::text COLLATE "C")')
_TRUE = sql.SQL(
    "NOT EXISTS (SELECT FROM campaigns_contacthold AS hold WHERE hold.run_id = event.run_id)"
)


def history_sql(tenant_key: int, now: datetime, metrics: Sequence[Metric]) -> sql.Composable:
    """A subselect of `customer_key` and one column per metric, one row per customer with events.

    `count` is a bigint, `last` a float8 of seconds, null where there was nothing. Every metric must
    be there once. What no metric can count is not read: partitions are pruned by the earliest
    `since`, and offers, channels, creatives and campaigns are narrowed if all metrics name them.
    """
    contacts = [metric for metric in metrics if metric.source == "contacts"]
    answers = [metric for metric in metrics if metric.source != "contacts"]
    parts = []
    if contacts:
        parts.append(_contacts(tenant_key, now, contacts))
    if answers:
        parts.append(_interactions(tenant_key, now, answers))
    columns = [
        sql.SQL("{value} AS {name}").format(
            value=_aggregate(metric, now), name=sql.Identifier(metric.name)
        )
        for metric in metrics
    ]
    return sql.SQL(
        "SELECT customer_key, {columns} FROM ({events}) AS event GROUP BY customer_key"
    ).format(columns=sql.SQL(", ").join(columns), events=sql.SQL(" UNION ALL ").join(parts))


def usage_sql(
    tenant_key: int, now: datetime, today: datetime, offers: Sequence[int]
) -> sql.Composable:
    """Per offer, for those that were given: contacts since `today` and in all, then impressions."""
    contacts, impressions = Metric("contacts"), Metric("impressions")
    narrow = [replace(metric, offers=tuple(offers)) for metric in (contacts, impressions)]
    values = [
        _aggregate(replace(metric, since=since), now)
        for metric in (contacts, impressions)
        for since in (today, None)
    ]
    return sql.SQL(
        "SELECT offer_id, {values} FROM ({contacts} UNION ALL {interactions}) AS event"
        " GROUP BY offer_id ORDER BY offer_id"
    ).format(
        values=sql.SQL(", ").join(values),
        contacts=_contacts(tenant_key, now, narrow[:1]),
        interactions=_interactions(tenant_key, now, narrow[1:]),
    )


def _contacts(tenant_key: int, now: datetime, metrics: Sequence[Metric]) -> sql.Composable:
    return sql.SQL(
        "SELECT customer_key, at, offer_id, channel_id, creative_id, campaign_id,"
        " NULL::text AS word, false AS is_impression"
        " FROM campaigns_contact AS event WHERE {where}"
    ).format(where=_all([*_common(tenant_key, now, metrics), _TRUE]))


def _interactions(tenant_key: int, now: datetime, metrics: Sequence[Metric]) -> sql.Composable:
    word = _WORD.format(empty=sql.Literal(""))
    is_impression = sql.SQL(
        '(lower(interaction_type::text COLLATE "C") = {impression} OR {word} = {impression})'
    ).format(impression=sql.Literal(IMPRESSION), word=word)
    return sql.SQL(
        "SELECT customer_key, at, offer_id, channel_id, creative_id, campaign_id,"
        " {word} AS word, {is_impression} AS is_impression"
        " FROM campaigns_interaction AS event WHERE {where}"
    ).format(
        word=word,
        is_impression=is_impression,
        where=_all([*_common(tenant_key, now, metrics), *_only(metrics, word, is_impression)]),
    )


def _common(tenant_key: int, now: datetime, metrics: Sequence[Metric]) -> Iterator[sql.Composable]:
    """What holds for every event that any of the metrics counts."""
    yield sql.SQL("tenant_id = {}").format(sql.Literal(tenant_key))
    yield sql.SQL("at <= {}").format(sql.Literal(now))
    starts = [metric.since for metric in metrics]
    if None not in starts:
        yield sql.SQL("at >= {}").format(sql.Literal(min(filter(None, starts))))
    for column, keys in _KEYS:
        named = [keys(metric) for metric in metrics]
        if all(named):
            yield _one_of(column, sorted({key for each in named for key in each}))


def _only(
    metrics: Sequence[Metric], word: sql.Composable, is_impression: sql.Composable
) -> Iterator[sql.Composable]:
    """Impressions, or certain outcomes, if nothing else is counted."""
    if all(metric.source == "impressions" for metric in metrics):
        yield is_impression
    if all(metric.source == "outcomes" and metric.outcomes for metric in metrics):
        listed = words(outcome for metric in metrics for outcome in metric.outcomes)
        yield sql.SQL("{} = ANY({}::text[])").format(word, sql.Literal(list(listed)))


def _aggregate(metric: Metric, now: datetime) -> sql.Composable:
    events = _all(_conditions(metric))
    if metric.aggregate == "count":
        return sql.SQL("count(*) FILTER (WHERE {})").format(events)
    return sql.SQL("extract(epoch FROM {now} - max(at) FILTER (WHERE {events}))::float8").format(
        now=_instant(now), events=events
    )


def _conditions(metric: Metric) -> Iterator[sql.Composable]:
    if metric.source == "contacts":
        yield sql.SQL("word IS NULL")
    elif metric.source == "impressions":
        yield sql.SQL("is_impression")
    else:
        yield sql.SQL("word <> {}").format(sql.Literal(IMPRESSION))
    if metric.source == "outcomes" and metric.outcomes:
        listed = sql.Literal(list(words(metric.outcomes)))
        yield sql.SQL("word = ANY({}::text[])").format(listed)
    if metric.since is not None:
        yield sql.SQL("at >= {}").format(sql.Literal(metric.since))
    for column, keys in _KEYS:
        if keys(metric):
            yield _one_of(column, keys(metric))
    if metric.without_campaigns:  # what is of no campaign is of none of these
        others = sql.Literal(list(metric.without_campaigns))
        yield sql.SQL("(campaign_id <> ALL({}::bigint[])) IS NOT FALSE").format(others)


def _one_of(column: str, keys: Sequence[int]) -> sql.Composable:
    return sql.SQL("{} = ANY({}::bigint[])").format(sql.Identifier(column), sql.Literal(list(keys)))


def _instant(at: datetime) -> sql.Composable:
    return sql.SQL("{}::timestamptz").format(sql.Literal(at))


def _all(conditions: Sequence[sql.Composable] | Iterator[sql.Composable]) -> sql.Composable:
    return sql.SQL(" AND ").join(conditions)
