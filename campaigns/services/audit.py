"""The audit log: what the histories of all models keep, as one list, newest first.

A page costs one query for its places in the list and at most three for every kind of row on it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import IntegerField, Model, OuterRef, Q, QuerySet, Subquery, Value
from simple_history.models import HistoricalRecords

from kaireon import ids
from kaireon.access.models import Tenant, TenantScoped

ACTIONS = {"+": "create", "~": "update", "-": "delete"}
#: Told beside the values, or the same for all rows of the log.
LEFT_OUT = {"id", "tenant", "version", "created_at", "updated_at", "next_run_at"}
#: Fields that the API calls something else.
RENAMED = {"flow": "decision_flow"}
#: What the words of a `scope` stand for.
SCOPES = {model.lower(): model for model in ids.PREFIXES}

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes to list; None is any."""

    kind: str | None = None
    key: int | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    changed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the list a change stands: by time, then kind, then number."""

    at: datetime
    kind: str
    history_id: int


@dataclass(frozen=True, slots=True)
class Change:
    place: Place
    action: str
    key: int
    name: str
    changed_by: str
    reason: str | None
    #: Only what is different, unless the row came or went.
    before: Values | None
    after: Values | None
    version: int | None


@cache
def kinds() -> Mapping[str, type[Model]]:
    """Every model with a history, by what the log calls its rows."""
    models = [
        model
        for model in apps.get_models()
        if hasattr(model._meta, "simple_history_manager_attribute")
    ]
    return {kind_of(model): model for model in sorted(models, key=kind_of)}


def kind_of(model: type[Model]) -> str:
    """The name of a model as other values of the API are written: sub_category."""
    name = {"Flow": "DecisionFlow"}.get(model.__name__, model.__name__)
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]


def history_of(kind: str) -> Any:
    """The model of the rows that tell of changes."""
    model: Any = kinds()[kind]
    return getattr(model, model._meta.simple_history_manager_attribute).model


def list_changes(tenant: Tenant, wanted: Wanted, after: Place | None, limit: int) -> list[Change]:
    """Return the changes that stand behind the place `after`, newest first."""
    branches = [
        branch(tenant, kind, wanted)
        .filter(behind(kind, after))
        .annotate(kind=Value(number, output_field=IntegerField()))
        .order_by("-history_date", "-history_id")
        .values_list("history_date", "kind", "history_id")[:limit]
        for number, kind in enumerate(kinds())
        if wanted.kind in (None, kind)
    ]
    first, *others = branches
    rows = first
    if others:
        every = first.union(*others, all=True)
        rows = every.order_by("-history_date", "kind", "-history_id")[:limit]
    names = list(kinds())
    return read_changes([Place(at, names[kind], number) for at, kind, number in rows])


def count_changes(tenant: Tenant, wanted: Wanted) -> int:
    first, *others = [
        branch(tenant, kind, wanted).order_by().values_list("history_id")
        for kind in kinds()
        if wanted.kind in (None, kind)
    ]
    return first.union(*others, all=True).count()


def branch(tenant: Tenant, kind: str, wanted: Wanted) -> QuerySet[Any, Any]:
    owner = "id" if kinds()[kind] is Tenant else "tenant_id"
    conditions = {
        owner: tenant.pk,
        "id": wanted.key,
        "history_type": {name: sign for sign, name in ACTIONS.items()}.get(wanted.action or ""),
        "history_date__gte": wanted.since,
        "history_date__lt": wanted.until,
        "changed_by": wanted.changed_by,
    }
    rows: QuerySet[Any, Any] = history_of(kind).objects.filter(**{owner: tenant.pk})
    given = {name: value for name, value in conditions.items() if value is not None}
    return rows.filter(**given)


def behind(kind: str, place: Place | None) -> Q:
    if place is None:
        return Q()
    order = list(kinds())
    same_time = Q(history_date=place.at)
    if kind == place.kind:
        same_time &= Q(history_id__lt=place.history_id)
    elif order.index(kind) < order.index(place.kind):
        return Q(history_date__lt=place.at)
    return Q(history_date__lt=place.at) | same_time


def read_changes(places: list[Place]) -> list[Change]:
    """Return the changes at these places, in their order."""
    found: dict[Place, Change] = {}
    for kind in {place.kind for place in places}:
        found |= {change.place: change for change in changes_of(kind, places)}
    return [found[place] for place in places]


def changes_of(kind: str, places: Iterable[Place]) -> Iterator[Change]:
    history, users = history_of(kind), user_fields(kind)
    wanted = [place.history_id for place in places if place.kind == kind]
    earlier = history.objects.filter(id=OuterRef("id"), history_id__lt=OuterRef("history_id"))
    previous = Subquery(earlier.order_by("-history_id").values("history_id")[:1])
    rows = history.objects.select_related(*users)
    changed = list(rows.filter(history_id__in=wanted).annotate(previous=previous))
    before = rows.in_bulk([row.previous for row in changed if row.previous])
    linked = read_links(history, [*wanted, *before])
    for row in changed:
        yield change_of(kind, row, before.get(row.previous), linked)


def change_of(kind: str, row: Any, previous: Any, linked: Mapping[int, Values]) -> Change:
    after: Values | None = values_of(kind, row) | linked[row.history_id]
    before = None
    if previous is not None:
        before = values_of(kind, previous) | linked[previous.history_id]
    if row.history_type == "-":
        # Links go before the row, so the last that is known of them stands in the one before.
        links = linked[previous.history_id] if previous is not None else {}
        before, after = {**(after or {}), **links}, None
    elif row.history_type == "+":
        before = None
    elif before is not None and after is not None:
        before, after = differences(before, after)
    return Change(
        place=Place(row.history_date, kind, row.history_id),
        action=ACTIONS[row.history_type],
        key=row.id,
        name=name_of(kind, row),
        changed_by=row.changed_by,
        reason=row.history_change_reason,
        before=before,
        after=after,
        version=getattr(row, "version", None),
    )


def differences(before: Values, after: Values) -> tuple[Values, Values]:
    changed = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in changed}, {name: after[name] for name in changed}


def name_of(kind: str, row: Any) -> str:
    """What people call the row: its name, or the user it is about."""
    if hasattr(row, "name"):
        return str(row.name)
    names = [
        getattr(row, field).get_username() for field in user_fields(kind) if getattr(row, field)
    ]
    return " ".join(names)


def user_fields(kind: str) -> list[str]:
    users = get_user_model()
    return [f.name for f in history_of(kind).tracked_fields if f.related_model is users]


def values_of(kind: str, row: Any) -> Values:
    """What the history keeps of the row, by name, with public ids for keys."""
    tracked = [f for f in history_of(kind).tracked_fields if f.name not in LEFT_OUT]
    return dict(value_of(field, row) for field in tracked)


def value_of(field: Any, row: Any) -> tuple[str, Any]:
    name, value = RENAMED.get(field.name, field.name), getattr(row, field.attname)
    if field.related_model is get_user_model():
        user = getattr(row, field.name)
        return name, user.get_username() if user else None
    if field.related_model is not None:
        return f"{name}_id", public(field.related_model, value)
    if name == "scope_key":
        return "scope_id", None if value is None else ids.encode(SCOPES[row.scope], value)
    return name, value


def public(model: type[TenantScoped], key: int | None) -> str | None:
    return None if key is None else ids.encode(model.__name__, key)


def read_links(history: Any, numbers: list[int]) -> Mapping[int, Values]:
    """The public ids of what rows are linked with many to many, as of these changes."""
    linked: dict[int, Values] = {number: {} for number in numbers}
    for field in history._history_m2m_fields:
        model, name = field.related_model, f"{field.related_model._meta.model_name}_ids"
        for values in linked.values():
            values[name] = []
        other = f"{field.m2m_reverse_field_name()}_id"
        rows = HistoricalRecords.m2m_models[field].objects.filter(history_id__in=numbers)
        for number, key in rows.order_by(other).values_list("history_id", other):
            linked[number][name].append(public(model, key))
    return linked
