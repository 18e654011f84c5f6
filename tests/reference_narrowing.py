"""Phase 1 of a flow for one customer at a time: which candidates are left; see reference_engine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from executor.flow.catalog import Catalog, RuleFacts
from kaireon import ids
from tests.reference_conditions import Answer, Candidate, Test, both, opposite, read
from tests.reference_policies import Policies
from tests.reference_rules import Clock, Customer, Person, Propensity, Rules, key_of

Json = Mapping[str, Any]
Node = tuple[str, Json]
#: Node, rule and policy; of the score no more is told.
Place = tuple[str, int | None, int | None]
PHASES = {"score": 2, "optimize": 2, "rank": 2, "group": 2} | dict.fromkeys(
    ("compute", "set_properties", "response"), 3
)


@dataclass
class Walk:
    """Where a customer is in the flow: the candidates left, and what the soft rules cost."""

    person: Person
    candidates: dict[tuple[int, int, int], Candidate]
    penalties: dict[tuple[int, int, int], dict[int, tuple[float, Answer]]] = field(
        default_factory=dict
    )
    removed_by: Place | None = None
    #: The candidates to which policies apply.
    policed: set[tuple[int, int, int]] = field(default_factory=set)


@dataclass(frozen=True)
class World:
    """What a flow runs in."""

    definition: Json
    catalog: Catalog
    kinds: Mapping[str, str]
    now: datetime
    zone: str
    key_column: str
    #: Schema key -> its rows.
    rows: Mapping[int, Sequence[Mapping[str, Any]]]
    customers: Sequence[Customer]
    draw: int = 0
    campaign: int = 0


class Narrowing:
    """The nodes of phase 1, node by node in their order."""

    def __init__(self, world: World, propensity: Propensity) -> None:
        self.world, self.catalog = world, world.catalog
        clock = Clock(world.now, world.zone)
        self.nodes = list(flow_nodes(world, 1))
        self.rules = Rules(self.catalog, world.kinds, clock, propensity)
        self.policies = Policies(self.catalog, clock)
        self.tests: dict[int, Test] = {}
        self.rows = {
            (schema.key, column): {str(row[column]): row for row in world.rows[schema.key]}
            for schema in self.catalog.schemas
            for column in schema.kinds
        }

    def inventory(self) -> list[Candidate]:
        """The candidates in the order that breaks ties."""
        config = self.nodes[0][1].get("config", {})
        scope, statuses = config.get("scope", "all"), config.get("includeStatuses", ["active"])
        found = []
        for offer in sorted(self.catalog.offers, key=lambda one: (-one.priority, one.key)):
            listed = {
                "all": True,
                "category": encoded("Category", offer.category_key)
                in config.get("categoryIds", ()),
                "subcategory": encoded("SubCategory", offer.sub_category_key)
                in config.get("subCategoryIds", ()),
                "offers": encoded("Offer", offer.key) in config.get("offerIds", ()),
            }
            begun = offer.starts is None or offer.starts <= self.world.now
            over = offer.ends is not None and self.world.now >= offer.ends
            if not listed[scope] or offer.status not in statuses or not begun or over:
                continue
            for channel in self.catalog.channels:
                creatives = [
                    one
                    for one in self.catalog.creatives
                    if (one.offer_key, one.channel_key) == (offer.key, channel.key) and one.weight
                ]
                creatives.sort(key=lambda one: (-one.weight, one.key))
                found += [
                    Candidate(offer, channel, one.key, one.placement_key) for one in creatives
                ] or [Candidate(offer, channel, None, None)]
        return found

    def walk(self, person: Person, candidates: Sequence[Candidate]) -> Walk:
        walk = Walk(person, {one.name: one for one in candidates})
        for join in self.catalog.joins:
            self.enrich(walk, join.schema_key, join.name, join.lookup, join.foreign_key)
        self.run(walk, self.nodes, [])
        return walk

    def run(self, walk: Walk, nodes: Sequence[Node], guards: list[Test]) -> None:
        for name, node in nodes:
            config = node.get("config", {})
            match node["type"]:
                case "filter":
                    test = self.test(config)
                    self.keep(walk, (name, None, None), guards, test)
                case "conditional":
                    self.branches(walk, name, config, guards)
                case "qualify":
                    for rule, _ in self.rules.all:
                        self.apply_rule(walk, name, rule, guards)
                case "contact_policy":
                    self.apply_policies(walk, name, guards)
                case "enrich" if "schemaId" in config:
                    self.enrich_by(walk, config)
                case "match_creatives":
                    self.match_creatives(walk, name, config)

    def test(self, config: Json) -> Test:
        if id(config) not in self.tests:
            kept = {key: config[key] for key in config if key in ("conditions", "combinator")}
            self.tests[id(config)] = read(kept, self.world.kinds)
        return self.tests[id(config)]

    def keep(self, walk: Walk, place: Place, guards: list[Test], test: Test) -> None:
        """Remove the candidates that the node concerns and that do not meet the test."""
        had = bool(walk.candidates)
        columns = walk.person.columns
        for one in list(walk.candidates.values()):
            concerned = both(guard(one, columns) for guard in guards)
            if concerned is True and test(one, columns) is False:
                del walk.candidates[one.name]
        if had and not walk.candidates:
            walk.removed_by = place

    def branches(self, walk: Walk, name: str, config: Json, guards: list[Test]) -> None:
        test = self.test(config)
        prefix = name.rpartition("/")[0]
        prefix = f"{prefix}/" if prefix else ""

        def otherwise(candidate: Candidate, columns: Any) -> Answer:
            return opposite(test(candidate, columns))

        for key, guard in (("then", test), ("otherwise", otherwise)):
            inside = list(expanded(self.world, config.get(key, ()), 0, prefix))
            self.run(walk, inside, [*guards, guard])

    def apply_rule(self, walk: Walk, name: str, rule: RuleFacts, guards: list[Test]) -> None:
        """A hard rule removes what fails it, a soft one makes it worth less, once."""
        test = next(test for facts, test in self.rules.all if facts.key == rule.key)

        def verdict(candidate: Candidate, _: Any) -> Answer:
            return self.rules.verdict(rule, test, candidate, walk.person)

        if rule.stage != "match":
            self.keep(walk, (name, rule.key, None), guards, verdict)
            return
        columns, multiplier = walk.person.columns, rule.config.get("fitMultiplier", 0.5)
        for one in walk.candidates.values():
            fails = both(
                (both(guard(one, columns) for guard in guards), opposite(verdict(one, columns)))
            )
            if fails is not False:
                of_one = walk.penalties.setdefault(one.name, {})
                before = of_one.pop(rule.key, (multiplier, False))[1]
                sure = before is True or fails is True
                of_one[rule.key] = (multiplier, True if sure else None)

    def apply_policies(self, walk: Walk, name: str, guards: list[Test]) -> None:
        """Whether somebody has had enough is never settled without a customer."""
        columns = walk.person.columns
        if walk.person.customer is None:
            return
        walk.policed |= {
            name
            for name, one in walk.candidates.items()
            if both(guard(one, columns) for guard in guards) is True
        }
        for policy in self.policies.all:

            def allowed(candidate: Candidate, _: Any, policy: Any = policy) -> Answer:
                return not self.policies.withholds(policy, candidate, walk.person)

            self.keep(walk, (name, None, policy.key), guards, allowed)

    def match_creatives(self, walk: Walk, name: str, config: Json) -> None:
        mode = config.get("placementMatchMode", "any")
        wanted = {key_of("Placement", one) for one in config.get("placementIds", ())}
        if mode == "none":
            walk.candidates = {
                name: replace(one, placement=None) for name, one in walk.candidates.items()
            }
        elif wanted:
            allowed = wanted if mode == "exact" else {*wanted, None}
            self.keep(
                walk,
                (name, None, None),
                [],
                lambda one, _: one.creative is None or one.placement in allowed,
            )
        if config.get("requireCreative", True):
            self.keep(walk, (name, None, None), [], lambda one, _: one.creative is not None)

    def enrich_by(self, walk: Walk, config: Json) -> None:
        key = key_of("Schema", config["schemaId"])
        schema = next(one for one in self.catalog.schemas if one.key == key)
        lookup = config.get("lookupKey", self.world.key_column).removeprefix("customer.")
        prefix = config.get("prefix", schema.name.lower())
        self.enrich(walk, schema.key, prefix, lookup, schema.key_column)

    def enrich(self, walk: Walk, schema: int, prefix: str, lookup: str, key_column: str) -> None:
        """Add the columns of the row whose key the customer has in the column `lookup`."""
        if walk.person.columns is None or walk.person.customer is None:
            return
        columns = walk.person.columns
        value = walk.person.customer.key if lookup == self.world.key_column else columns[lookup]
        row = None if value is None else self.rows[schema, key_column].get(str(value))
        facts = next(one for one in self.catalog.schemas if one.key == schema)
        for column in facts.kinds:
            columns[f"{prefix}.{column}"] = None if row is None else row[column]


def flow_nodes(world: World, phase: int) -> Iterator[Node]:
    """The nodes of a phase; match_creatives ends the first one if it is not there."""
    nodes = list(expanded(world, world.definition["nodes"], phase))
    yield from nodes
    if phase == 1 and not any(node["type"] == "match_creatives" for _, node in nodes):
        yield "(implied)", {"type": "match_creatives"}


def expanded(
    world: World, nodes: Sequence[Json], phase: int, prefix: str = "", *, is_called: bool = False
) -> Iterator[Node]:
    """The nodes of a phase, 0 for all; a call is replaced by the nodes it calls."""
    at = 1
    for node in nodes:
        kind = node["type"]
        any_phase = kind in ("call_flow", "extension_point")
        own = node.get("phase", at) if any_phase else PHASES.get(kind, 1)
        at = max(at, own)
        if (phase and own != phase) or (is_called and kind in ("inventory", "response")):
            continue
        name = f"{prefix}{node['id']}"
        if kind == "call_flow":
            key = node["config"]["flowKey"]
            called = next(flow.config for flow in world.catalog.flows if flow.name == key)
            yield from expanded(world, called["nodes"], own, f"{name}/", is_called=True)
        else:
            yield name, node


def encoded(model: str, key: int | None) -> str | None:
    return None if key is None else ids.encode(model, key)
