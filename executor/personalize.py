"""Creatives of the winners with the customer's values in them: content, variables, or why not.

A creative is rendered for all its winners at once: simple templates as column expressions, others
once for every distinct set of the values they read. What a customer lacks, and nothing stands in
for, makes that one delivery fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.compute import FROZEN, POSITION, PREFIX, Computed, compile_computed
from executor.errors import Rejected
from executor.flow import creatives, templates
from executor.flow.catalog import Catalog, ChannelFacts, CreativeFacts, OfferFacts
from executor.flow.columns import by_name
from executor.flow.creatives import Item
from executor.flow.fields import find_column, read_ref, ref_value
from executor.flow.formula_values import EXACT, Clock, Typed, column_source, constant
from executor.flow.inputs import KEY
from executor.flow.operators import quoted
from executor.flow.plan import Plan
from executor.flow.template_columns import Variable, compile_template
from executor.flow.templates import Number, Template
from executor.flow.types import Kind
from kaireon import ids

CONTENT = "content."
FAULT = "=fault"


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text columns of the file, a value per winner, and why a winner cannot be delivered.

    A winner that fails has a reason; `failures` counts, by custom field, values that are missing.
    """

    columns: dict[str, pl.Series]
    failed: NDArray[np.bool_]
    reasons: pl.Series
    failures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Treatment:
    """A creative made ready: its variables over the winners' columns, and its templates."""

    name: str
    variables: Mapping[str, Variable]
    #: Variables of the personalization list that no template reads: a target system does.
    handed_on: tuple[str, ...]
    listed: tuple[str, ...]
    templates: tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class Personalizer:
    """Renders winners; `columns` are the columns of customers it needs besides the key."""

    treatments: Mapping[int, Treatment]
    computed: Computed
    columns: frozenset[str]
    #: Per candidate of the plan: offer, channel, and creative (0: none).
    offers: NDArray[np.int64]
    channels: NDArray[np.int64]
    creatives: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """All `personalization.` and `content.` columns there are."""
        variables = {name for each in self.treatments.values() for name in each.listed}
        fields = {field for each in self.treatments.values() for field, _ in each.templates}
        return (
            *(PREFIX + name for name in sorted({*variables, *self.computed.outputs})),
            *(CONTENT + field for field in sorted(fields)),
        )

    def render(
        self,
        frame: pl.DataFrame,
        rows: NDArray[np.integer],
        candidates: NDArray[np.integer],
        wanted: Sequence[str],
    ) -> Rendered:
        """Render the winners, each a row of the frame and a candidate; `wanted` names columns."""
        values = self.computed.values(
            frame, rows, self.offers[candidates], self.channels[candidates]
        )
        winners = frame.select(by_name(name) for name in [KEY, *sorted(self.columns)])[rows]
        winners = winners.hstack([values.columns[name] for name in values.columns])
        schema = {POSITION: pl.Int64(), FAULT: pl.String()} | dict.fromkeys(wanted, pl.String())
        parts = [pl.DataFrame(schema=schema)]
        used = self.creatives[candidates]
        for creative in np.unique(used):
            places = np.flatnonzero(used == creative)
            part = winners[places]
            if creative in self.treatments:
                part = _render(self.treatments[int(creative)], part, wanted)
            else:
                part = part.select(_shown(part, name) for name in wanted if name in part.columns)
            parts.append(part.with_columns(pl.Series(POSITION, places.astype(np.int64))))
        whole = pl.concat(parts, how="diagonal").sort(POSITION)
        return Rendered(
            columns={name: whole[name] for name in wanted},
            failed=whole[FAULT].is_not_null().to_numpy(),
            reasons=whole[FAULT],
            failures=values.failures,
        )


def _shown(part: pl.DataFrame, name: str) -> pl.Expr:
    """A computed field as a template prints it."""
    kind = Kind.TEXT if part[name].dtype == pl.String else Kind.NUMBER
    return Variable(by_name(name), kind).text.alias(name)


def _render(treatment: Treatment, part: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    """The wanted columns of winners with one creative, and FAULT."""
    named = {name: f"={number}" for number, name in enumerate(treatment.variables)}
    table = part.with_columns(
        treatment.variables[name].expr.alias(column) for name, column in named.items()
    )
    variables = {
        name: Variable(by_name(column), treatment.variables[name].kind)
        for name, column in named.items()
    }
    shown = [name for name in wanted if name.startswith(PREFIX) and name in part.columns]
    made = {name: _shown(part, name) for name in shown}
    made |= {PREFIX + name: variables[name].text for name in treatment.listed}
    faults = [_lacking(treatment, name, variables[name]) for name in treatment.handed_on]
    slow = []
    for field, template in treatment.templates:
        fast = compile_template(template, variables)
        if fast is None:
            slow.append((field, template))
        else:
            made[CONTENT + field] = fast.text
            faults.append(_named(treatment, field, fast.fault))
    table = table.with_columns(
        *(expr.alias(name) for name, expr in made.items() if name in wanted),
        pl.coalesce(*faults, pl.lit(None, pl.String)).alias(FAULT),
    )
    done = {*made}
    for field, template in slow:
        texts, reasons = _one_by_one(template, table, named, variables)
        table = table.with_columns(texts.alias(CONTENT + field), reasons.alias("=reason"))
        reason = _named(treatment, field, by_name("=reason"))
        table = table.with_columns(pl.coalesce(by_name(FAULT), reason).alias(FAULT))
        done.add(CONTENT + field)
    return table.select(FAULT, *(by_name(name) for name in wanted if name in done))


def _named(treatment: Treatment, field: str, fault: pl.Expr) -> pl.Expr:
    return pl.lit(f"creative {quoted(treatment.name)}, {field}: ") + fault


def _lacking(treatment: Treatment, name: str, variable: Variable) -> pl.Expr:
    fault = f"creative {quoted(treatment.name)}: {templates.missing_text(name)}"
    return pl.when(variable.expr.is_null()).then(pl.lit(fault))


def _one_by_one(
    template: Template,
    table: pl.DataFrame,
    named: Mapping[str, str],
    variables: Mapping[str, Variable],
) -> tuple[pl.Series, pl.Series]:
    """Text and reason per row, rendered once for every distinct set of values."""
    if not template.names:
        text, reason = templates.render(template, {})
        pair = (pl.Series([text], dtype=pl.String), pl.Series([reason], dtype=pl.String))
        return pair[0].new_from_index(0, table.height), pair[1].new_from_index(0, table.height)
    read = table.select(by_name(named[name]) for name in template.names)
    distinct = read.unique(maintain_order=True)
    kinds = [variables[name].kind for name in template.names]
    columns = [column.to_list() for column in distinct.iter_columns()]
    found = [
        templates.render(template, _values(template.names, row, kinds))
        for row in zip(*columns, strict=True)
    ]
    results = distinct.hstack(
        [
            pl.Series("=text", [text for text, _ in found], pl.String),
            pl.Series("=reason", [reason for _, reason in found], pl.String),
        ]
    )
    joined = read.join(
        results, on=read.columns, how="left", nulls_equal=True, maintain_order="left"
    )
    return joined["=text"], joined["=reason"]


def _values(names: Sequence[str], row: Sequence[Any], kinds: Sequence[Kind]) -> dict[str, Any]:
    """What Liquid is given: only what there is."""
    return {
        name: Number(value) if kind is Kind.NUMBER else value
        for name, value, kind in zip(names, row, kinds, strict=True)
        if value is not None
    }


def compile_personalization(
    plan: Plan, catalog: Catalog, kinds: Mapping[str, Kind], clock: Clock
) -> Personalizer:
    """Make the creatives of the plan's candidates ready.

    Raises Rejected naming the creative and the variable for what no customer can have, unless a
    fallback stands for it, and for formulas that read what there is not.
    """
    computed = compile_computed(plan.offers, plan.channels, kinds, clock)
    facts = {creative.key: creative for creative in catalog.creatives}
    treatments: dict[int, Treatment] = {}
    columns = set(computed.columns)
    errors: list[tuple[str, str]] = []
    for candidate in plan.candidates:
        key = candidate.creative_key
        if key is None or key in treatments or key not in facts:
            continue
        offer, channel = plan.offers[candidate.offer], plan.channels[candidate.channel]
        maker = _Maker(offer, channel, computed, kinds, clock)
        treatments[key] = maker.treatment(facts[key])
        columns |= maker.columns
        errors += maker.errors
    if errors:
        raise Rejected.of(errors)
    return Personalizer(
        treatments=treatments,
        computed=computed,
        columns=frozenset(columns),
        offers=np.array([c.offer for c in plan.candidates], dtype=np.int64),
        channels=np.array([c.channel for c in plan.candidates], dtype=np.int64),
        creatives=np.array([c.creative_key or 0 for c in plan.candidates], dtype=np.int64),
    )


class _Maker:
    """Makes one creative ready; collects the columns it reads and what is wrong with it."""

    def __init__(
        self,
        offer: OfferFacts,
        channel: ChannelFacts,
        computed: Computed,
        kinds: Mapping[str, Kind],
        clock: Clock,
    ) -> None:
        self.offer, self.channel, self.computed = offer, channel, computed
        self.kinds, self.clock = kinds, clock
        self.columns: set[str] = set()
        self.errors: list[tuple[str, str]] = []

    def treatment(self, creative: CreativeFacts) -> Treatment:
        path = f"creatives[{quoted(creative.name)}]"
        parsed = []
        for field, text in creatives.templates_of(creative.content):
            html = creatives.is_html(creative.template_type, field)
            try:
                template = templates.parse_template(text, html=html, now=self.clock.local)
            except Rejected as error:
                self.errors += [(f"{path}.content.{field}", t) for _, t in error.errors]
            else:
                parsed.append((field, template))
        items = {item.variable: item for item in creatives.items_of(creative.personalization)}
        used = dict.fromkeys(name for _, template in parsed for name in template.names)
        variables = {}
        for name in dict.fromkeys([*used, *items]):
            item = items.get(name, Item(name, name, None))
            try:
                variables[name] = self.variable(item)
            except Rejected as error:
                self.errors += [(f"{path}.{name}", t) for _, t in error.errors]
        return Treatment(
            name=creative.name,
            variables=variables,
            handed_on=tuple(name for name in items if name in variables and name not in used),
            listed=tuple(name for name in items if name in variables),
            templates=tuple(parsed) if len(variables) == len({*used, *items}) else (),
        )

    def variable(self, item: Item) -> Variable:
        try:
            found = self.source(item.source)
        except Rejected:
            if item.fallback is None:
                raise
            found = Variable(pl.lit(None, pl.String), Kind.TEXT)
        return found if item.fallback is None else _or_else(found, item.fallback)

    def source(self, source: str) -> Variable:
        namespace, _, attribute = source.partition(".")
        if source == "customer_id":
            return Variable(by_name(KEY), Kind.TEXT)
        if source == "offer_id":
            return _constant(ids.encode("Offer", self.offer.key))
        if not attribute or namespace == "customer":
            return self.column(attribute or source)
        if namespace == "personalization":
            return self.custom_field(attribute)
        return _constant(ref_value(read_ref(source), self.offer, self.channel))

    def column(self, name: str) -> Variable:
        kind = find_column(name, self.kinds)
        self.columns.add(name)
        if kind is Kind.BOOLEAN:
            return Variable(by_name(name), kind)
        return _variable(column_source(by_name(name), FROZEN[kind], self.clock))

    def custom_field(self, key: str) -> Variable:
        if any(key == each for each, _, _ in self.offer.computed):
            kind = Kind.NUMBER if self.computed.outputs[key] == "number" else Kind.TEXT
            return _variable(Typed(by_name(PREFIX + key), kind))
        if key in self.offer.custom_fields:
            return _constant(self.offer.custom_fields[key])
        raise Rejected(f"the offer {quoted(self.offer.name)} has no custom field {quoted(key)}")


def _constant(value: Any) -> Variable:
    if isinstance(value, bool):
        return Variable(pl.lit(value), Kind.BOOLEAN)
    return _variable(constant(value))


def _variable(value: Typed) -> Variable:
    """An empty text is missing; an instant has no fractions of seconds."""
    if value.kind is None:
        return Variable(pl.lit(None, pl.String), Kind.TEXT)
    if value.kind is Kind.TEXT:
        return Variable(pl.when(value.expr != "").then(value.expr), value.kind)
    if value.kind is Kind.DATETIME:
        return Variable(value.expr.dt.truncate("1s"), value.kind)
    return Variable(value.expr, value.kind)


def _or_else(variable: Variable, fallback: str | float | bool) -> Variable:
    """A fallback of another kind makes the variable a text."""
    if variable.kind in (Kind.INTEGER, Kind.NUMBER) and (value := _number(fallback)) is not None:
        if variable.kind is Kind.INTEGER and value.is_integer():
            return Variable(variable.expr.fill_null(int(value)), Kind.INTEGER)
        return Variable(variable.expr.cast(pl.Float64).fill_null(value), Kind.NUMBER)
    if variable.kind is Kind.BOOLEAN and isinstance(fallback, bool):
        return Variable(variable.expr.fill_null(fallback), Kind.BOOLEAN)
    text = _constant(fallback).text
    return Variable(pl.coalesce(variable.text, text), Kind.TEXT)


def _number(fallback: str | float | bool) -> float | None:
    try:
        value = float(fallback)
    except (ValueError, OverflowError):
        return None
    return value if abs(value) < EXACT else None
