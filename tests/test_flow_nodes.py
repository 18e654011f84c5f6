"""The nodes of a flow one by one: what each makes of the candidates, in plain examples."""

import math
from dataclasses import replace
from typing import Any

import pytest

from executor.errors import Rejected
from executor.flow.catalog import (
    Catalog,
    CreativeFacts,
    FlowFacts,
    JoinFacts,
    ModelFacts,
    PlacementFacts,
    PolicyFacts,
    ProfileFacts,
    SchemaFacts,
)
from executor.flow.compile import compile_flow
from executor.flow.conditions import Leaf, describe
from executor.flow.inputs import Enrichment
from executor.flow.operators import Op
from executor.flow.plan import Plan, Ranking, Split, Term
from executor.flow.types import Kind
from executor.flow.work import Setting
from executor.models.compile import compile_model
from kaireon import ids
from tests.flow_samples import (
    CATALOG,
    EMAIL,
    GOLD,
    KINDS,
    LOAN,
    SETTING,
    Json,
    conditions,
    flow,
    formula,
    leaf,
    node,
    rule,
)

MODEL = ModelFacts(1, "churn", "logistic_regression", {}, (), {"weights": {"age": 0.1}, "bias": -3})
SCHEMA = SchemaFacts(
    4, "Big Accounts", "data", "ds_a", "id", {"tier": Kind.TEXT, "branch": Kind.TEXT}
)
BRANCHES = SchemaFacts(
    5, "Branches", "data", "ds_b", "code", {"code": Kind.TEXT, "open": Kind.BOOLEAN}
)
OLD_ENOUGH = leaf("customer.age", "gt", 17)
RICH = leaf("customer.balance", "gt", 100)


def compiled(definition: Json, **parts: Any) -> Plan:
    """The plan with these parts of the catalog; `models` compiled too."""
    catalog = replace(CATALOG, **parts)
    models = {one.name: compile_model(one) for one in catalog.models}
    setting = Setting(SETTING.now, "UTC", models=models)
    return compile_flow(definition, catalog, KINDS, setting, "id")


def faults(definition: Json, **parts: Any) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        compiled(definition, **parts)
    return caught.value.errors


def needs(plan: Plan) -> list[tuple[str, str, tuple[int, ...]]]:
    """Node, condition and candidates of every step: 0 and 1 are the gold card, 2 the loan."""
    return [(step.node, describe(step.condition), step.candidates) for step in plan.steps]


def scores(plan: Plan) -> list[float]:
    return [round(math.exp(one), 5) for one in plan.score.constants]


def phase_2(*nodes: Json) -> Json:
    return {"version": 2, "nodes": [node("inventory"), *nodes]}


def when(*items: Json, **branches: list[Json]) -> Json:
    return node("conditional", conditions=list(items), **branches)


class TestConditional:
    def test_each_branch_concerns_the_customers_that_go_through_it(self) -> None:
        rich, poor = {**conditions(OLD_ENOUGH), "id": "rich"}, {**conditions(RICH), "id": "poor"}
        plan = compiled(flow(when(RICH, then=[rich], otherwise=[poor])))
        assert needs(plan) == [
            ("rich", "not (balance > 100) or age > 17", (0, 1, 2)),
            ("poor", "balance > 100 or balance > 100", (0, 1, 2)),
        ]

    def test_what_only_offers_decide_is_settled(self) -> None:
        cards = leaf("offer.category", "eq", "Cards")
        other = {**conditions(RICH), "id": "other"}
        plan = compiled(flow(when(cards, then=[conditions(OLD_ENOUGH)], otherwise=[other])))
        assert needs(plan) == [("filter", "age > 17", (0, 1)), ("other", "balance > 100", (2,))]

    def test_what_no_customer_of_a_branch_can_have_is_dropped_only_if_all_go_through_it(
        self,
    ) -> None:
        nothing = conditions(leaf("channel.name", "eq", "Post"))
        cards = leaf("offer.category", "eq", "Cards")
        some = compiled(flow(when(RICH, then=[nothing])))
        assert needs(some) == [("filter", "not (balance > 100)", (0, 1, 2))]
        settled = compiled(flow(when(cards, then=[nothing])))
        assert [settled.offers[one.offer].name for one in settled.candidates] == ["Car Loan"]

    def test_what_a_run_itself_gives_counts_only_for_whom_the_policies_concern(self) -> None:
        cap = PolicyFacts(1, "Cap", "customer_total_cap", "global", None, {"maxPerDay": 2})
        cards = leaf("offer.category", "eq", "Cards")
        branch = node("conditional", conditions=[RICH], then=[node("contact_policy")])
        (limit,) = compiled(flow(branch), policies=(cap,)).ranking.limits
        assert limit.condition == Leaf("balance", Op.GT, 100.0)
        assert (limit.counts, limit.closes) == ((0, 1, 2), (0, 1, 2))
        branch = node("conditional", conditions=[cards], then=[node("contact_policy")])
        (limit,) = compiled(flow(branch), policies=(cap,)).ranking.limits
        assert (limit.condition, limit.counts, limit.closes) == (True, (0, 1, 2), (0, 1))

    def test_conditionals_nest(self) -> None:
        inner = {**when(OLD_ENOUGH, otherwise=[conditions(RICH)]), "id": "inner"}
        outer = {**when(leaf("customer.sms_ok", "eq", True), then=[inner]), "id": "outer"}
        assert needs(compiled(flow(outer))) == [
            ("filter", "not (sms_ok = true and not (age > 17)) or balance > 100", (0, 1, 2))
        ]


class TestCallFlow:
    CALL = node("call_flow", flowKey="sub")

    def sub(self, *nodes: Json, **ends: Any) -> tuple[FlowFacts, ...]:
        return (FlowFacts("sub", 1, flow(*nodes, **ends)),)

    def test_nodes_of_the_phase_stand_in_place_of_the_call(self) -> None:
        plan = compiled(flow(self.CALL), flows=self.sub(conditions(OLD_ENOUGH)))
        assert needs(plan) == [("call_flow/filter", "age > 17", (0, 1, 2))]
        assert scores(plan) == [0.45, 0.45, 0.5]

    def test_a_call_in_the_second_phase_brings_score_and_rank(self) -> None:
        called = self.sub(conditions(OLD_ENOUGH), score=formula(emphasis=0.5))
        called[0].config["nodes"][-1]["config"] = {"maxCandidates": 2}
        plan = compiled(phase_2({**self.CALL, "phase": 2}), flows=called)
        assert (plan.steps, plan.k) == ((), 2)
        # 0.5^0.4 x 0.8^0.3 x 0.5^0.1
        assert scores(plan)[0] == 0.66132

    def test_calls_nest_and_keep_their_branches(self) -> None:
        inner = FlowFacts("inner", 1, flow(when(RICH, then=[conditions(OLD_ENOUGH)])))
        called = self.sub({**node("call_flow", flowKey="inner"), "id": "deep"})
        plan = compiled(flow(self.CALL), flows=(*called, inner))
        assert [one for one, _, _ in needs(plan)] == ["call_flow/deep/filter"]

    def test_a_flow_that_is_not_there_is_named_at_the_call(self) -> None:
        assert faults(flow(self.CALL)) == [
            (
                "nodes[1].config.flowKey",
                'there is no published flow with key "sub"; publish it, or remove the node',
            )
        ]

    def test_a_circle_is_told_with_its_way(self) -> None:
        one = FlowFacts("sub", 1, flow(node("call_flow", flowKey="two")))
        two = FlowFacts("two", 1, flow(node("call_flow", flowKey="sub")))
        assert faults(flow(self.CALL), flows=(one, two)) == [
            ("nodes[1].config.flowKey", "flows call each other in a circle: sub -> two -> sub")
        ]

    def test_a_called_flow_may_not_repeat_a_node_that_is_there_once(self) -> None:
        ((path, message),) = faults(
            flow(node("qualify"), self.CALL), flows=self.sub(node("qualify"))
        )
        assert path.startswith("nodes[2]")
        assert 'node "call_flow/qualify": only one qualify node is allowed' in message

    def test_a_branch_cannot_call_what_may_not_stand_in_it(self) -> None:
        called = self.sub(node("match_creatives"))
        assert faults(flow(when(RICH, then=[self.CALL])), flows=called) == [
            (
                "nodes[1].config.then[0].config.flowKey",
                "a match_creatives node of a called flow cannot run in a branch",
            )
        ]


class TestEnrich:
    BY_ID = node("enrich", schemaId=ids.encode("Schema", 4))

    def test_the_columns_of_the_row_can_be_asked(self) -> None:
        tier = conditions(leaf("customer.big_accounts.tier", "eq", "A"))
        plan = compiled(flow(self.BY_ID, tier), schemas=(SCHEMA,))
        assert needs(plan) == [("filter", 'big_accounts.tier = "A"', (0, 1, 2))]
        assert plan.columns == {"big_accounts.tier"}
        assert plan.inputs.enrichments == (
            Enrichment("big_accounts", "data", "ds_a", "id", "id", {"tier": Kind.TEXT}),
        )

    def test_one_enrichment_is_looked_up_by_another(self) -> None:
        account = node("enrich", schemaId=ids.encode("Schema", 4), prefix="a", lookupKey="city")
        branch = node("enrich", schemaId=ids.encode("Schema", 5), lookupKey="customer.a.branch")
        opened = conditions(leaf("customer.branches.open", "eq", True))
        plan = compiled(flow(account, {**branch, "id": "b"}, opened), schemas=(SCHEMA, BRANCHES))
        # Of the first only what the second is looked up by: it must be frozen all the same.
        assert plan.inputs.enrichments == (
            Enrichment("a", "data", "ds_a", "id", "city", {"branch": Kind.TEXT}),
            Enrichment("branches", "data", "ds_b", "code", "a.branch", {"open": Kind.BOOLEAN}),
        )

    def test_what_is_not_read_is_not_frozen(self) -> None:
        assert compiled(flow(self.BY_ID), schemas=(SCHEMA,)).inputs.enrichments == ()

    def test_automatic_joins_come_before_every_node(self) -> None:
        joins = (JoinFacts("home", 5, "city", "code"), JoinFacts("gone", 9, "city", "code"))
        opened = conditions(leaf("customer.home.open", "eq", True))
        plan = compiled(flow(opened), schemas=(BRANCHES,), joins=joins)
        assert plan.inputs.enrichments == (
            Enrichment("home", "data", "ds_b", "code", "city", {"open": Kind.BOOLEAN}),
        )

    @pytest.mark.parametrize(
        ("config", "path", "message"),
        [
            (
                {"schemaId": ids.encode("Schema", 7)},
                "schemaId",
                f'there is no schema "{ids.encode("Schema", 7)}"',
            ),
            (
                {"schemaId": ids.encode("Schema", 5), "lookupKey": "town"},
                "lookupKey",
                'the customers have no column "town"',
            ),
            (
                {"schemaId": ids.encode("Schema", 5), "prefix": "big_accounts"},
                "prefix",
                '"big_accounts" is the prefix of an enrichment before; choose another',
            ),
        ],
        ids=["schema", "lookup", "prefix"],
    )
    def test_what_does_not_fit_is_refused(self, config: Json, path: str, message: str) -> None:
        second = {**node("enrich", **config), "id": "second"}
        found = faults(flow(self.BY_ID, second), schemas=(SCHEMA, BRANCHES))
        assert found == [(f"nodes[2].config.{path}", message)]


class TestScoring:
    PROFILE = ids.encode("RankingProfile", 3)
    PROFILES = (ProfileFacts(3, "money", {"margin": 0.6, "propensity": 0.2}),)
    GAIN = (replace(GOLD, margin=6.0), LOAN)

    def decided(self, *after: Json, score: Json | None = None) -> Json:
        return phase_2(score or formula(), *after, node("rank"))

    def test_optimize_weighs_the_objectives_of_a_profile_by_their_shares(self) -> None:
        chosen = self.decided(node("optimize", profileId=self.PROFILE))
        plan = compiled(chosen, profiles=self.PROFILES, offers=self.GAIN)
        # 0.5^0.25 x 1^0.75, and half of the largest margin: 0.5^0.25 x 0.5^0.75
        assert scores(plan) == [0.8409, 0.8409, 0.5]

    def test_optimize_takes_weights_of_its_own(self) -> None:
        plan = compiled(self.decided(node("optimize", weights={"fairness": 0.3, "margin": 0})))
        assert scores(plan) == [0.9, 0.9, 0.5]

    def test_a_profile_that_is_gone_and_a_margin_that_nobody_has_are_named(self) -> None:
        chosen = self.decided(node("optimize", profileId=self.PROFILE))
        assert faults(chosen) == [
            ("nodes[2].config.profileId", f'there is no ranking profile "{self.PROFILE}"')
        ]
        bare = (replace(GOLD, margin=None), replace(LOAN, margin=None))
        assert faults(chosen, profiles=self.PROFILES, offers=bare) == [
            ("nodes[2].config", "no offer has a margin above 0, which the profile weighs")
        ]

    def test_a_channel_is_scored_in_a_way_of_its_own(self) -> None:
        sms = {"channelId": ids.encode("Channel", 2), "method": "propensity", "propensity": 0.25}
        plan = compiled(flow(score=node("score", channelOverrides=[sms])))
        assert scores(plan) == [0.45, 0.25, 0.5]

    def test_the_first_strategy_that_fits_replaces_the_weights(self) -> None:
        strategies = [
            {"scope": "category", "value": "Cards", "profileId": self.PROFILE},
            {"scope": "channel", "value": "Email", "profileId": ids.encode("RankingProfile", 4)},
        ]
        profiles = (*self.PROFILES, ProfileFacts(4, "fair", {"emphasis": 1.0}))
        chosen = formula(strategyOverrides=strategies)
        plan = compiled(flow(score=chosen), profiles=profiles, offers=self.GAIN)
        assert scores(plan) == [0.8409, 0.8409, 0.5]

    def test_a_floor_is_kept_for_the_customers_scores(self) -> None:
        assert compiled(flow(score=formula(scoreFloor=0.3))).score.floor == 0.3

    def test_a_model_can_stand_in_for_the_whole_score(self) -> None:
        hook = node("extension_point", hook="score_override", modelKey="churn")
        plan = compiled(self.decided(hook), models=(MODEL,))
        (derived,) = plan.derived
        assert derived.columns == (("age", "age"),)
        term = Term(derived.name, 0.0, 1.0, 1.0, 0.0, is_open=True)
        assert plan.score.terms == ((term,),) * 3
        assert scores(plan) == [1, 1, 1]

    def test_a_hook_without_a_model_changes_nothing(self) -> None:
        hooks = [
            node("extension_point", hook="score_override"),
            {**node("extension_point", hook="post_rank"), "id": "after"},
        ]
        plan = compiled(phase_2(node("score"), hooks[0], node("rank"), hooks[1]))
        assert plan.score == compiled(flow()).score

    def test_what_a_model_cannot_tell_is_blended_like_what_no_model_was_asked(self) -> None:
        evidence = replace(CATALOG.evidence, offers=((1, 30, 3),))
        score = node("score", method="propensity", modelKey="churn")
        plan = compiled(flow(score=score), models=(MODEL,), evidence=evidence)
        alone = compiled(flow(score=node("score", method="propensity")), evidence=evidence)
        # (3 + 10 x 0.5) / (30 + 10), and 0.5 where nothing is known at all.
        assert [terms[0].default for terms in plan.score.terms] == [0.2, 0.2, 0.5]
        assert scores(alone) == [0.2, 0.2, 0.5]


class TestRanking:
    @pytest.mark.parametrize(
        ("config", "ranking"),
        [
            ({}, Ranking(5, "top_n")),
            ({"method": "diversity"}, Ranking(5, "diversity", 1)),
            ({"method": "diversity", "maxPerCategory": 2}, Ranking(5, "diversity", 2)),
            ({"method": "round_robin", "maxCandidates": 2}, Ranking(2, "round_robin")),
            ({"method": "weighted_random"}, Ranking(5, "weighted_random")),
        ],
    )
    def test_rank_says_how_many_and_in_which_way(self, config: Json, ranking: Ranking) -> None:
        plan = compiled(phase_2(node("score"), node("rank", **config)))
        assert plan.ranking == ranking
        assert plan.is_hashed is (ranking.method == "weighted_random")

    def test_group_limits_every_placement(self) -> None:
        placements = (PlacementFacts(7, "top", 1), PlacementFacts(8, "side", 1, 3))
        grouped = phase_2(node("score"), node("rank"), node("group"))
        plan = compiled(grouped, placements=placements)
        assert plan.ranking == Ranking(5, slots={7: 1, 8: 3})
        assert not plan.ranking.is_plain


class TestMatchCreatives:
    PLACED = (
        CreativeFacts(21, "top", 1, 1, placement_key=7, weight=30),
        CreativeFacts(22, "top too", 1, 1, placement_key=7, weight=60),
        CreativeFacts(23, "side", 1, 1, placement_key=8),
        CreativeFacts(24, "anywhere", 2, 1),
    )
    PARTS: Json = {
        "offers": (GOLD, LOAN),
        "channels": (EMAIL,),
        "creatives": PLACED,
        "placements": (PlacementFacts(7, "top", 1), PlacementFacts(8, "side", 1)),
    }
    TOP = ids.encode("Placement", 7)

    @pytest.mark.parametrize(
        ("config", "creatives", "splits"),
        [
            ({}, [23, 22, 21, 24], (Split((1, 2), (60, 30)),)),
            ({"placementIds": [TOP]}, [22, 21, 24], (Split((0, 1), (60, 30)),)),
            (
                {"placementIds": [TOP], "placementMatchMode": "exact"},
                [22, 21],
                (Split((0, 1), (60, 30)),),
            ),
            (
                {"placementIds": [TOP], "placementMatchMode": "none"},
                [23, 22, 21, 24],
                (Split((0, 1, 2), (100, 60, 30)),),
            ),
        ],
        ids=["all", "any", "exact", "none"],
    )
    def test_placements_choose_and_divide_creatives(
        self, config: Json, creatives: list[int], splits: tuple[Split, ...]
    ) -> None:
        plan = compiled(flow(node("match_creatives", **config)), **self.PARTS)
        assert [one.creative_key for one in plan.candidates] == creatives
        assert plan.splits == splits

    def test_a_variant_that_a_rule_takes_from_everybody_keeps_its_share(self) -> None:
        nobody = rule(
            rule_type="segment_required",
            config={"requiredSegments": [ids.encode("Segment", 9)]},
            scope="creative",
            scope_key=22,
        )
        plan = compiled(flow(node("qualify")), rules=(nobody,), **self.PARTS)
        assert [one.creative_key for one in plan.candidates] == [23, 21, 24]
        assert plan.splits == (Split((None, 1), (60, 30)),)

    def test_a_placement_that_is_gone_is_named(self) -> None:
        gone = ids.encode("Placement", 9)
        found = faults(flow(node("match_creatives", placementIds=[gone])), **self.PARTS)
        assert found == [
            ("nodes[1].config.placementIds[0]", f'there is no active placement "{gone}"')
        ]


class TestOutput:
    def test_properties_are_computed_set_and_set_again(self) -> None:
        first = [{"name": "tone", "value": "warm"}, {"name": "fee", "formula": "1 + 2"}]
        again = [{"name": "fee", "value": None}]
        definition = flow()
        definition["nodes"] += [
            node("compute", fields=["rate"]),
            {**node("set_properties", properties=first), "id": "first"},
            {**node("set_properties", properties=again), "id": "again"},
            node("response"),
        ]
        properties = compiled(definition).properties
        assert properties.computed == ("rate",)
        assert properties.constants == (("tone", "warm"), ("fee", None))
        assert properties.formulas == ()

    def test_all_fields_are_computed_unless_some_are_listed(self) -> None:
        definition = flow()
        assert compiled(definition).properties.computed is None
        definition["nodes"].append(node("compute"))
        assert compiled(definition).properties.computed is None
        definition["nodes"][-1]["config"] = {"fields": ["rate", "fee"]}
        assert compiled(definition).properties.computed == ("rate", "fee")


def test_rules_are_applied_once_per_qualify_node() -> None:
    """A branch may have a qualify node of its own."""
    rules = (rule("Grown up"),)
    inside = {**node("qualify"), "id": "inside"}
    plan = compiled(flow(node("qualify"), when(RICH, then=[inside])), rules=rules)
    assert needs(plan) == [
        ("qualify", "age > 17", (0, 1, 2)),
        ("inside", "not (balance > 100) or age > 17", (0, 1, 2)),
    ]


def test_catalog_of_the_samples_is_as_the_examples_say() -> None:
    assert isinstance(CATALOG, Catalog)
    plan = compiled(flow())
    assert [plan.offers[one.offer].name for one in plan.candidates] == [
        "Gold Card",
        "Gold Card",
        "Car Loan",
    ]
