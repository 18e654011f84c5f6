"""Rows that name other rows without a foreign key: by scope, inside a config, or in a flow."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from django.db.models import F, Func, Model, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.fields import BooleanField

from campaigns.models import (
    AlgorithmModel,
    Category,
    Channel,
    ContactPolicy,
    Creative,
    Flow,
    FlowVersion,
    Offer,
    Placement,
    QualificationRule,
    Segment,
    SubCategory,
    VolumeConstraint,
)
from kaireon import ids
from kaireon.access.models import Tenant, TenantScoped

Fault = tuple[str, str]
Scoped = QualificationRule | ContactPolicy | VolumeConstraint

#: What a scope may be -> the rows it is one of.
SCOPES: Mapping[str, type[TenantScoped]] = {
    "segment": Segment,
    "channel": Channel,
    "category": Category,
    "subcategory": SubCategory,
    "offer": Offer,
    "creative": Creative,
    "placement": Placement,
}
#: What is deleted together with a row.
CASCADES: Mapping[type[Model], tuple[str, ...]] = {
    Offer: ("creatives",),
    Channel: ("placements", "creatives"),
}
#: Where a config names a row by its key, as a path of SQL/JSON.
NAMED_BY_KEY: Mapping[type[Model], str] = {
    AlgorithmModel: "$.** ? (@.modelKey == $name || @.shadowModelKeys[*] == $name)",
    Flow: "$.** ? (@.flowKey == $name)",
}


def find_keys(
    model: type[TenantScoped], tenant: Tenant | int, public_ids: Collection[str]
) -> dict[str, int]:
    """Return the keys of the rows that the tenant has, by id.

    Until the transaction ends nobody can delete them, so what is about to name them stays true.
    """
    keys = {public_id: ids.decode(model.__name__, public_id) for public_id in public_ids}
    wanted = {key for key in keys.values() if key is not None}
    if not wanted:
        return {}
    rows = model.objects.of(tenant).select_for_update(no_key=True).order_by("pk")
    found = set(rows.filter(pk__in=wanted).values_list("pk", flat=True))
    return {public_id: key for public_id, key in keys.items() if key in found and key is not None}


def unknown(model: type[Model]) -> str:
    prefix = ids.PREFIXES[model.__name__]
    kind = model._meta.verbose_name
    return f"There is no {kind} with this id; ids of this kind begin with {prefix}_."


def place_in_scope(row: Scoped, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the fields with `scope_key` in place of the public `scope_id`, and what is wrong.

    What is not given stays as it is stored, but a new scope forgets the id of the old one.
    """
    values = dict(fields)
    given = "scope_id" in values
    public_id = values.pop("scope_id", None)
    scope = values.get("scope", row.scope)
    if not given and scope == row.scope and row.scope_key is not None:
        return values, []
    values["scope_key"] = None
    if scope == "global":
        faults = [] if public_id is None else [("scopeId", 'The scope "global" has no scopeId.')]
        return values, faults
    if public_id is None:
        return values, [("scopeId", f'The scope "{scope}" needs a scopeId.')]
    model = SCOPES[scope]
    values["scope_key"] = find_keys(model, row.tenant_id, [public_id]).get(public_id)
    return values, [] if values["scope_key"] else [("scopeId", unknown(model))]


def place_in_scopes(
    row: QualificationRule | ContactPolicy, fields: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Fault]]:
    """As `place_in_scope`; several `scopes` replace the one, of which it becomes the first.

    Naming one anew forgets the several.
    """
    if not fields.get("scopes"):
        values, faults = place_in_scope(row, fields)
        if {"scope", "scope_id", "scopes"} & fields.keys():
            values["scopes"] = []
        return values, faults
    values = {name: value for name, value in fields.items() if name != "scope_id"}
    placed: list[tuple[str, int | None]] = []
    faults = []
    if fields.get("scope_id") not in (None, fields["scopes"][0].get("scopeId")):
        faults.append(("scopeId", "Is that of the first of the scopes, where there are several."))
    for number, one in enumerate(fields["scopes"]):
        scope, public_id = one["scope"], one.get("scopeId")
        bare = type(row)(tenant_id=row.tenant_id, scope="global")
        place, wrong = place_in_scope(bare, {"scope": scope, "scope_id": public_id})
        faults += [(f"scopes[{number}].{path}", text) for path, text in wrong]
        if not wrong and (scope, place["scope_key"]) in placed:
            faults.append((f"scopes[{number}]", "Is there twice."))
        placed.append((scope, place["scope_key"]))
    values["scope"], values["scope_key"] = placed[0]
    values["scopes"] = [
        {"scope": one["scope"], "scopeId": one.get("scopeId")} for one in fields["scopes"]
    ]
    return values, faults


def users_of(row: Any) -> list[Model]:
    """Return what would be left naming nothing if the row, and what goes with it, were deleted.

    Locks them, so it must be called in the transaction that deletes them.
    """
    doomed = [row, *cascaded(row)]
    users: list[Model] = list(row.campaigns.all()) if isinstance(row, Channel) else []
    for model in (QualificationRule, ContactPolicy, VolumeConstraint):
        condition = scoped_to(doomed)
        if model is not VolumeConstraint:
            condition |= one_of_scopes(doomed)
        users += model.objects.of(row.tenant_id).filter(condition).order_by("pk")
    users += configured_with(row)
    return users + list(flows_naming(row))


def cascaded(row: Any) -> Iterator[Model]:
    type(row).unscoped.select_for_update().get(pk=row.pk)
    for name in CASCADES.get(type(row), ()):
        yield from getattr(row, name).select_for_update().order_by("pk")


def scoped_to(rows: Collection[Any]) -> Q:
    condition = Q(pk__in=())
    for scope, model in SCOPES.items():
        keys = [row.pk for row in rows if type(row) is model]
        condition |= Q(scope=scope, scope_key__in=keys)
    return condition


def one_of_scopes(rows: Collection[Any]) -> Q:
    """Rules and policies that have one of the rows among several scopes."""
    condition = Q(pk__in=())
    for scope, model in SCOPES.items():
        for row in rows:
            if type(row) is model:
                place = {"scope": scope, "scopeId": row.public_id}
                condition |= Q(scopes__contains=[place])
    return condition


def configured_with(row: Any) -> Iterator[Model]:
    """Rules and policies whose config names the row."""
    for model in (QualificationRule, ContactPolicy):
        rows = model.objects.of(row.tenant_id)
        yield from rows.filter(names(F("config"), row)).order_by("pk")


def names(config: F, row: Any) -> Func:
    """Whether a config names the row: a model or flow by its key, all else by its public id."""
    by_key = NAMED_BY_KEY.get(type(row))
    return Func(
        config,
        Value(by_key or "$.** ? (@ == $name)"),
        Func(
            Value("name"),
            Value(row.key if by_key else row.public_id),
            function="jsonb_build_object",
        ),
        function="jsonb_path_exists",
        template="%(function)s(%(expressions)s)",
        output_field=BooleanField(),
    )


def flows_naming(row: Any) -> QuerySet[Flow]:
    """Flows whose draft or newest version names the row."""
    flows: QuerySet[Flow] = Flow.objects.of(row.tenant_id)
    newest = FlowVersion.objects.filter(flow=OuterRef("pk")).order_by("-version")
    with_newest = flows.alias(newest=Subquery(newest.values("config")[:1]))
    in_either = Q(names(F("draft_config"), row)) | Q(names(F("newest"), row))
    return with_newest.filter(in_either).order_by("pk")
