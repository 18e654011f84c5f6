"""The one statement of the freeze: the segment's columns, and beside them the inputs of a plan.

Every relation beside the segment is made to have at most one row for a customer, so whatever is
joined, nobody is multiplied and nobody is lost.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import sql

from executor.errors import Rejected
from executor.flow.inputs import HASH, KEY, MARK, Enrichment, Inputs, Metric, SegmentFlag
from executor.flow.operators import quoted
from executor.flow.types import Column, Cursor, column_sql, read_columns, unique_columns
from executor.history import history_sql
from executor.sampling import sampled_sql
from executor.spec import VIEW_SCHEMA, RunSpec

#: PostgreSQL cuts longer names.
LONGEST_NAME = 63
#: PostgreSQL returns at most 1,664.
MOST_COLUMNS = 1600

Composable = sql.Composable
#: Types whose text tells apart whatever a unique index on them does.
_TOLD_APART = ("smallint", "integer", "bigint", "uuid", "text", "character varying")


@dataclass(slots=True)
class _Statement:
    """The parts of the statement while it is put together."""

    cursor: Cursor
    spec: RunSpec
    known: Mapping[str, Column]
    #: How the columns of the segment are told from joined ones; empty if nothing is joined.
    alias: str
    selected: list[Composable] = field(default_factory=list)
    joins: list[Composable] = field(default_factory=list)

    def own(self, name: str) -> Composable:
        """A column of the segment, cast."""
        if name not in self.known:
            raise Rejected(f'the segment no longer has the column "{name}" that the flow reads')
        parts = (self.alias, name) if self.alias else (name,)
        return column_sql(sql.Identifier(*parts), self.known[name].pg_type)[0]

    @property
    def key(self) -> Composable:
        return _text(self.own(self.spec.key_column))

    @property
    def hash(self) -> Composable:
        """h(key)"""
        md5 = sql.SQL("('x' || left(md5({salt} || {key}), 16))::bit(64)::bigint")
        return md5.format(salt=sql.Literal(self.spec.salt), key=self.key)

    def select(self, value: Composable, name: str) -> None:
        self.selected.append(value + sql.SQL(" AS ") + sql.Identifier(short_name(name)))

    def whole(self) -> Composable:
        view: Composable = sql.Identifier(VIEW_SCHEMA, self.spec.view)
        if self.spec.sample is not None:
            view = sampled_sql(view, self.alias, self.hash, self.spec.sample.size)
        source = view + sql.SQL(" AS ") + sql.Identifier(self.alias) if self.alias else view
        return sql.SQL("SELECT {columns} FROM {source} ORDER BY {key}").format(
            columns=sql.SQL(", ").join(self.selected),
            source=sql.SQL(" ").join([source, *self.joins]),
            key=self.key,
        )


def freezing_sql(
    cursor: Cursor, spec: RunSpec, columns: frozenset[str], inputs: Inputs, *, hashed: bool
) -> Composable:
    """Key, optional h(key), each of `columns`, and all flags and metrics of `inputs`.

    `columns` names columns of the segment or of an enrichment; what names a flag or a metric too
    is there once. Rows come ordered by key. Raises Rejected for what is gone.
    """
    known = read_columns(cursor, VIEW_SCHEMA, spec.view)
    if spec.key_column not in known:
        raise Rejected(f'the segment has no key column "{spec.key_column}"')
    is_plain = inputs == Inputs() and spec.sample is None
    statement = _Statement(cursor, spec, known, alias="" if is_plain else "s")
    statement.select(statement.key, KEY)
    if hashed:
        statement.select(statement.hash, HASH)
    values = _enriched(statement, columns, inputs.enrichments)
    values |= _flags(statement, inputs.segments)
    values |= _metrics(statement, inputs.metrics)
    wanted = columns | {flag.name for flag in inputs.segments}
    for name in sorted(wanted | {metric.name for metric in inputs.metrics}):
        statement.select(values[name] if name in values else statement.own(name), name)
    if len(statement.selected) > MOST_COLUMNS:
        raise Rejected(
            f"the flow reads {len(columns)} columns, {len(inputs.segments)} segments and"
            f" {len(inputs.metrics)} counts of the history; together at most {MOST_COLUMNS} can be"
            " read: have fewer policies of single offers"
        )
    return statement.whole()


def short_name(name: str) -> str:
    """The name of a column in the statement."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{MARK}{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _enriched(
    statement: _Statement, columns: frozenset[str], enrichments: Sequence[Enrichment]
) -> dict[str, Composable]:
    """Join what is read of each enrichment, the ones it is looked up by first."""
    needed = set(columns)
    for one in reversed(enrichments):
        if any(one.name(column) in needed for column in one.kinds):
            needed.add(one.lookup)
    values: dict[str, Composable] = {}
    for number, one in enumerate(enrichments):
        read = sorted(column for column in one.kinds if one.name(column) in needed)
        if not read:
            continue
        lookup = values[one.lookup] if one.lookup in values else statement.own(one.lookup)
        alias = f"e{number}"
        rows = _rows_of(statement.cursor, one, read)
        statement.joins.append(_join(rows, alias, "k", _text(lookup)))
        values |= {
            one.name(column): sql.Identifier(alias, f"c{place}")
            for place, column in enumerate(read)
        }
    return values


def _rows_of(cursor: Cursor, one: Enrichment, read: Sequence[str]) -> Composable:
    """A subselect of the key as text, `k`, and the columns `c0`, `c1`, …: one row for a key.

    Where keys may repeat, the row counts that comes first by its columns, in the order of their
    names.
    """
    place = (one.relation_schema, one.relation_name)
    try:
        known = read_columns(cursor, *place)
    except Rejected as error:
        gone = f"the table {'.'.join(place)} of the enrichment {quoted(one.prefix)} is gone"
        raise Rejected(gone) from error
    missing = [name for name in (one.key_column, *read) if name not in known]
    if missing:
        text = f"the table {'.'.join(place)} no longer has the column {quoted(missing[0])}"
        raise Rejected(f"{text} of the enrichment {quoted(one.prefix)}")
    casts = [_cast(known, name) for name in read]
    named = [_as(cast, f"c{number}") for number, cast in enumerate(casts)]
    key = _text(_cast(known, one.key_column))
    once = _is_unique(cursor, place, known[one.key_column])
    order = sql.SQL(", ").join([key, *(_text(cast) for cast in casts)])
    return sql.SQL(
        "SELECT {distinct}{columns} FROM {relation} WHERE {key} IS NOT NULL{order}"
    ).format(
        distinct=sql.SQL("") if once else sql.SQL("DISTINCT ON ({}) ").format(key),
        columns=sql.SQL(", ").join([_as(key, "k"), *named]),
        relation=sql.Identifier(*place),
        key=sql.Identifier(one.key_column),
        order=sql.SQL("") if once else sql.SQL(" ORDER BY ") + order,
    )


def _flags(statement: _Statement, flags: Sequence[SegmentFlag]) -> dict[str, Composable]:
    values: dict[str, Composable] = {}
    for number, flag in enumerate(flags):
        try:
            known = read_columns(statement.cursor, VIEW_SCHEMA, flag.view)
        except Rejected as error:
            raise Rejected(f"the view {quoted(flag.view)} of a segment is gone") from error
        if flag.key_column not in known:
            raise Rejected(
                f"the segment {quoted(flag.view)} has no column {quoted(flag.key_column)}"
            )
        rows = sql.SQL("SELECT DISTINCT {key} AS k FROM {view}").format(
            key=_text(_cast(known, flag.key_column)), view=sql.Identifier(VIEW_SCHEMA, flag.view)
        )
        alias = f"g{number}"
        statement.joins.append(_join(rows, alias, "k", statement.key))
        values[flag.name] = sql.SQL("({} IS NOT NULL)").format(sql.Identifier(alias, "k"))
    return values


def _metrics(statement: _Statement, metrics: Sequence[Metric]) -> dict[str, Composable]:
    if not metrics:
        return {}
    spec = statement.spec
    once = list(dict.fromkeys(metrics))
    rows = history_sql(spec.tenant_key, datetime.fromisoformat(spec.now), once)
    statement.joins.append(_join(rows, "h", "customer_key", statement.key))
    return {
        metric.name: sql.SQL(
            "coalesce({}, 0)::bigint" if metric.aggregate == "count" else "{}"
        ).format(sql.Identifier("h", metric.name))
        for metric in once
    }


def _join(rows: Composable, alias: str, key: str, lookup: Composable) -> Composable:
    return sql.SQL("LEFT JOIN ({rows}) AS {alias} ON {key} = {lookup}").format(
        rows=rows, alias=sql.Identifier(alias), key=sql.Identifier(alias, key), lookup=lookup
    )


def _cast(known: Mapping[str, Column], name: str) -> Composable:
    return column_sql(sql.Identifier(name), known[name].pg_type)[0]


def _text(value: Composable) -> Composable:
    return sql.SQL('({})::text COLLATE "C"').format(value)


def _as(value: Composable, name: str) -> Composable:
    return value + sql.SQL(" AS ") + sql.Identifier(name)


def _is_unique(cursor: Cursor, place: tuple[str, str], column: Column) -> bool:
    """Whether no two rows can have the same text of the column."""
    told_apart = column.pg_type.resolved().name in _TOLD_APART
    return told_apart and column.name in unique_columns(cursor, *place)
