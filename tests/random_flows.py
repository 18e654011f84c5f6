"""Random flows: a definition with the catalog, customers and rows of other schemas it runs on."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from executor.flow.catalog import Catalog, FlowFacts
from executor.flow.types import Kind
from kaireon import ids
from tests.random_catalogs import ACCOUNTS, BRANCHES, MODELS, random_catalog
from tests.random_values import (
    KINDS,
    NOW,
    SETS,
    ZONE,
    random_condition,
    random_customers,
    random_value,
)
from tests.reference_narrowing import World

Json = dict[str, Any]
Kinds = Mapping[str, Kind]

KEY_COLUMN = "customer key"
#: Prefix -> schema of what may be added to the customers.
ADDED = {"a": ACCOUNTS, "branches": BRANCHES, "auto": BRANCHES}


def random_world(seed: str, number: int, customers: int) -> World:
    """Everything that the random flow of this number needs; the same for the same seed."""
    random = Random(f"{seed}/{number}")
    catalog = random_catalog(random)
    maker = _FlowMaker(random, catalog)
    definition = maker.flow()
    catalog = replace(catalog, flows=tuple(maker.called))
    added = {
        f"{prefix}.{name}": kind
        for prefix, schema in ADDED.items()
        for name, kind in schema.kinds.items()
    }
    return World(
        definition=definition,
        catalog=catalog,
        kinds={**KINDS, **added},
        now=NOW,
        zone=ZONE,
        key_column=KEY_COLUMN,
        rows=random_rows(random),
        customers=random_customers(f"{number % SETS}", customers),
        draw=random.getrandbits(62),
        campaign=random.randint(1, 4),
    )


def random_rows(random: Random) -> dict[int, list[Json]]:
    accounts = [
        {
            "id": number,
            "tier": random_value(random, Kind.TEXT),
            "worth": random_value(random, Kind.NUMBER),
            "next": random.choice((None, *(f"r{one}" for one in range(12)))),
        }
        for number in range(0, 40, 2)
    ]
    branches = [
        {
            "code": f"r{number}",
            "level": random_value(random, Kind.INTEGER),
            "open": random_value(random, Kind.BOOLEAN),
            "since": random_value(random, Kind.DATE),
        }
        for number in range(9)
    ]
    return {1: accounts, 2: branches}


class _FlowMaker:
    """Makes a definition; `called` has the flows that it calls."""

    def __init__(self, random: Random, catalog: Catalog) -> None:
        self.random, self.catalog = random, catalog
        self.called: list[FlowFacts] = []
        self.kinds: dict[str, Kind] = dict(KINDS)
        self.number = 0
        #: What there may be once, and was put somewhere.
        self.used: set[str] = set()
        if catalog.joins:
            self.add("auto")

    def add(self, prefix: str) -> None:
        self.kinds |= {f"{prefix}.{name}": kind for name, kind in ADDED[prefix].kinds.items()}

    def node(self, kind: str, config: Json | None = None, **fields: Any) -> Json:
        self.number += 1
        return {"id": f"{kind}-{self.number}", "type": kind, "config": config or {}, **fields}

    def is_so(self, share: float) -> bool:
        return self.random.random() < share

    def flow(self) -> Json:
        nodes = [self.inventory(), *self.enrichments()]
        kinds = ["filter", "filter", "conditional", "qualify", "contact_policy", "match_creatives"]
        kinds = [kind for kind in [*kinds, "call_flow"] if self.is_so(0.55)]
        self.random.shuffle(kinds)
        nodes += [node for kind in kinds for node in self.narrowing(kind)]
        if self.is_so(0.2):
            nodes.append(self.node("extension_point", {"hook": "pre_score"}))
        if self.is_so(0.15):
            nodes.append(self.call(2, self.deciding()))
        else:
            nodes += self.deciding()
        if self.is_so(0.3):
            nodes.append(self.node("response"))
        return {"version": 2, "nodes": nodes}

    def inventory(self) -> Json:
        scope = self.random.choice((*["all"] * 9, "category", "subcategory", "offers"))
        config: Json = {"scope": scope}
        if scope == "category":
            config["categoryIds"] = [ids.encode("Category", one) for one in (1, 2)]
        elif scope == "subcategory":
            config["subCategoryIds"] = [ids.encode("SubCategory", 11)]
        elif scope == "offers":
            config["offerIds"] = [ids.encode("Offer", one) for one in (1, 2, 3, 99)]
        if self.is_so(0.3):
            config["includeStatuses"] = ["active", "paused"]
        return self.node("inventory", config)

    def enrichments(self) -> list[Json]:
        nodes = []
        if self.is_so(0.4):
            config: Json = {"schemaId": ids.encode("Schema", 1), "prefix": "a"}
            config["lookupKey"] = self.random.choice(("account", "customer.account"))
            nodes.append(self.node("enrich", config))
            self.add("a")
            if self.is_so(0.6):
                chained = {"schemaId": ids.encode("Schema", 2), "lookupKey": "customer.a.next"}
                nodes.append(self.node("enrich", chained))
                self.add("branches")
        elif self.is_so(0.1):
            nodes.append(self.node("enrich", {"lookupKey": KEY_COLUMN}))
        return nodes

    def narrowing(self, kind: str, depth: int = 0) -> list[Json]:
        """Nodes of the type; none if there is one that may be there once."""
        match kind:
            case "filter":
                return [self.node("filter", self.conditions(is_filter=True))]
            case "conditional":
                return [self.conditional(depth)]
            case "call_flow":
                kinds = ("filter", "conditional", "qualify", "match_creatives", "contact_policy")
                inside = self.narrowing(self.random.choice(kinds), 2)
                return [self.call(1, inside)]
        if kind in self.used:
            return []
        self.used.add(kind)
        return [self.node(kind, self.match() if kind == "match_creatives" else {})]

    def conditions(self, *, is_filter: bool = False) -> Json:
        """Filters let some offers past in any case, or most flows would leave nothing."""
        many = self.random.choice((1, 1, 2, 3))
        items = [random_condition(self.random, self.kinds) for _ in range(many)]
        combinator = self.random.choice(("OR", "OR", "AND"))
        if is_filter and self.is_so(0.8):
            names = self.random.sample([one.name for one in self.catalog.offers], 2)
            free = {"field": "offer.name", "operator": "in", "value": names}
            items = [free, {"conditions": items, "combinator": combinator}]
            combinator = "OR"
        return {"conditions": items, "combinator": combinator}

    def match(self) -> Json:
        config: Json = {"requireCreative": self.is_so(0.5)}
        if self.is_so(0.5):
            config["placementMatchMode"] = self.random.choice(("any", "none", "exact"))
        if self.is_so(0.4):
            config["placementIds"] = [ids.encode("Placement", one) for one in (11, 12)]
        return config

    def conditional(self, depth: int) -> Json:
        config = self.conditions()
        for key in self.random.choice((("then",), ("otherwise",), ("then", "otherwise"))):
            kinds = ["filter", "qualify", "contact_policy", "filter"]
            if depth < 2:
                kinds += ["conditional"]
            kinds = self.random.sample(kinds, self.random.randint(1, 2))
            inside = []
            for kind in dict.fromkeys(kinds):
                if kind in ("qualify", "contact_policy"):
                    inside.append(self.node(kind))
                elif depth == 0 and kind == "filter" and self.is_so(0.3):
                    inside.append(self.call(1, self.narrowing("filter")))
                else:
                    inside += self.narrowing(kind, depth + 1)
            config[key] = inside
        return self.node("conditional", config)

    def call(self, phase: int, inside: list[Json]) -> Json:
        """A call of a new flow with these nodes in the phase."""
        key = f"flow-{len(self.called)}"
        nodes = [self.node("inventory", {"scope": "all"})]
        if phase == 1:
            nodes += [*inside, self.node("score"), self.node("rank")]
        else:
            nodes += [self.node("filter", self.conditions(is_filter=True)), *inside]
        self.called.append(FlowFacts(key, 1, {"version": 2, "nodes": nodes}))
        return self.node("call_flow", {"flowKey": key}, **({"phase": 2} if phase == 2 else {}))

    def deciding(self) -> list[Json]:
        nodes = [self.node("score", self.score())]
        if self.is_so(0.2):
            weights: Json = {"propensity": 0.5, "impact": self.random.choice((0, 0.5)), "margin": 0}
            if self.is_so(0.3):
                weights["margin"] = 0.4
            if self.is_so(0.4):
                weights["fatigue"] = 0.25
            given = {"profileId": ids.encode("RankingProfile", self.random.choice((1, 2, 3)))}
            nodes.append(self.node("optimize", self.random.choice((given, {"weights": weights}))))
        if self.is_so(0.15):
            config: Json = {"hook": "score_override"}
            if self.is_so(0.7):
                config["modelKey"] = self.random.choice(MODELS).name
            nodes.append(self.node("extension_point", config))
        nodes.append(self.node("rank", self.rank()))
        if self.is_so(0.4):
            nodes.append(self.node("group"))
        if self.is_so(0.1):
            nodes.append(self.node("extension_point", {"hook": "post_rank"}))
        return nodes

    def rank(self) -> Json:
        methods = ("top_n", "diversity", "round_robin", "weighted_random")
        config: Json = {"method": self.random.choice(methods)}
        config["maxCandidates"] = self.random.choice((1, 2, 3, 5, 5))
        if config["method"] == "diversity" and self.is_so(0.5):
            config["maxPerCategory"] = self.random.choice((1, 2))
        return config

    def score(self) -> Json:
        config = self.scoring()
        if self.is_so(0.2):
            config["scoreFloor"] = self.random.choice((0.01, 0.05, 0.2, 1))
        if self.is_so(0.25):
            channel = {"channelId": ids.encode("Channel", self.random.choice((1, 2, 3)))}
            config["channelOverrides"] = [{**channel, **self.scoring()}]
        if config["method"] == "formula" and self.is_so(0.25):
            places = (("category", "Cards"), ("productType", "card"), ("channel", "SMS"))
            config["strategyOverrides"] = [
                {"scope": scope, "value": value, "profileId": ids.encode("RankingProfile", profile)}
                for (scope, value), profile in zip(places, (1, 2, 3), strict=True)
                if self.is_so(0.5)
            ]
        return config

    def scoring(self) -> Json:
        methods = ("priority_weighted", "propensity", "formula", "formula")
        config: Json = {"method": self.random.choice(methods)}
        if config["method"] == "priority_weighted":
            return config
        if self.is_so(0.5):
            config["modelKey"] = self.random.choice(MODELS).name
        elif self.is_so(0.6):
            config["propensity"] = self.source("customer.propensity_{offer.product_type}", 0.3)
        if self.is_so(0.3):
            config["evidence"] = "never"
        if self.is_so(0.2):
            config["smoothingWeight"] = self.random.choice((0, 1.5, 50))
        if config["method"] == "formula":
            self.formula(config)
        return config

    def formula(self, config: Json) -> None:
        if self.is_so(0.2):
            profile = self.random.choice((1, 2, 3))
            config["strategyProfileId"] = ids.encode("RankingProfile", profile)
        elif self.is_so(0.5):
            weights = self.random.choice(((0.25, 0.25, 0.25, 0.25), (1, 0, 0, 0), (0.7, 0.3, 0, 0)))
            names = ("propensity", "relevance", "impact", "emphasis")
            pairs = zip(names, weights, strict=True)
            config["formula"] = {f"{name}Weight": weight for name, weight in pairs}
        if self.is_so(0.5):
            config["relevance"] = self.source("customer.balance", 0.25)
        if self.is_so(0.3):
            fields = ("offer.margin", "offer.metadata.fee", "customer.active")
            config["impact"] = self.source(self.random.choice(fields), 0.8)
        if self.is_so(0.3):
            config["emphasis"] = self.source("customer.age", self.random.choice((0, 1)))

    def source(self, field: str, default: float) -> Any:
        """Where a factor comes from."""
        if self.is_so(0.15):
            return self.random.choice((0.4, 0.4, 1, 0))
        low, high = self.random.choice(((0, 1), (0, 1000), (80, 20), (-1e308, 7e307), (-5, 5)))
        return {"field": field, "min": low, "max": high, "default": default}
