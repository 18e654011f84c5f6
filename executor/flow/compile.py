"""Definition and catalog in, plan out: everything that no customer can change is decided here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.errors import Rejected
from executor.flow.catalog import Catalog, ChannelFacts, OfferFacts, RuleFacts
from executor.flow.conditions import Condition, describe, fields
from executor.flow.filters import compile_filter
from executor.flow.inventory import (
    describe_inventory,
    keys_in_scope,
    references,
    why_left_out,
)
from executor.flow.nodes import (
    Definition,
    FilterNode,
    InventoryNode,
    MatchCreativesConfig,
    MatchCreativesNode,
    Node,
    QualifyNode,
    RankNode,
    ScoreNode,
)
from executor.flow.operators import quoted
from executor.flow.parse import parse_flow
from executor.flow.plan import Candidate, Dropped, NodeNote, Plan, ScorePlan, Step
from executor.flow.rules import SCOPES, compile_rule, in_order
from executor.flow.scores import compile_score, describe_score
from executor.flow.types import Kind

#: No user's node can have this id.
IMPLIED = "(implied)"


def compile_flow(
    definition: Mapping[str, object] | Definition, catalog: Catalog, kinds: Mapping[str, Kind]
) -> Plan:
    """Compile a flow for these offers, channels and customer columns.

    A plan without candidates is possible: `plan.why_empty()` says why. Raises Rejected with every
    fault: of the definition, of the rules, and names the customers or offers do not have.
    """
    if not isinstance(definition, Definition):
        definition = parse_flow(definition)
    kinds = {name: Kind(kind) for name, kind in kinds.items()}
    work = _Compiler(catalog, kinds, _best_creatives(catalog))
    errors: list[tuple[str, str]] = []
    for path, node in _with_implied(definition):
        try:
            work.run(node, path)
        except Rejected as error:
            errors.extend(error.errors)
    if errors:
        raise Rejected.of(errors)
    return work.plan()


@dataclass(frozen=True, slots=True)
class _Pair:
    offer: OfferFacts
    channel: ChannelFacts
    creative_key: int | None

    @property
    def name(self) -> tuple[int, int]:
        return self.offer.key, self.channel.key


@dataclass(frozen=True, slots=True)
class _Draft:
    """A step before it is known which candidates remain."""

    stage: str
    node: str
    label: str
    rule_key: int | None
    condition: Condition
    pairs: list[_Pair] = field(default_factory=list)


@dataclass(slots=True)
class _Compiler:
    """The candidates that are left while the nodes run, and what the nodes found out."""

    catalog: Catalog
    kinds: Mapping[str, Kind]
    creatives: Mapping[tuple[int, int], int]
    pairs: list[_Pair] = field(default_factory=list)
    drafts: list[_Draft] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[NodeNote] = field(default_factory=list)
    score: ScorePlan = field(default_factory=lambda: ScorePlan("formula", (), ()))
    k: int = 0

    def run(self, node: Node, path: str) -> None:
        match node:
            case InventoryNode():
                self._inventory(node)
            case FilterNode():
                self._filter(node, path)
            case MatchCreativesNode():
                self._match_creatives(node)
            case QualifyNode():
                self._qualify(node)
            case ScoreNode():
                self._score(node, path)
            case RankNode():
                self.k = node.config.max_candidates
                text = f"top_n, at most {self.k} per customer, one per offer"
                self.notes.append(NodeNote(node.id, node.type, text))
            case _:
                self.notes.append(NodeNote(node.id, node.type, node.config.response_format))

    def plan(self) -> Plan:
        offers = tuple({pair.offer.key: pair.offer for pair in self.pairs}.values())
        offer_index = {offer.key: index for index, offer in enumerate(offers)}
        channel_index = {channel.key: i for i, channel in enumerate(self.catalog.channels)}
        steps = self._steps()
        columns = {column for step in steps for column in fields(step.condition)}
        columns |= {term.column for terms in self.score.terms for term in terms}
        return Plan(
            offers=offers,
            channels=self.catalog.channels,
            candidates=tuple(
                Candidate(
                    offer_index[pair.offer.key], channel_index[pair.channel.key], pair.creative_key
                )
                for pair in self.pairs
            ),
            steps=steps,
            dropped=tuple(self.dropped),
            score=self.score,
            k=self.k,
            columns=frozenset(columns),
            nodes=tuple(self.notes),
        )

    def _inventory(self, node: InventoryNode) -> None:
        known = {offer.key for offer in self.catalog.offers}
        for reference in references(node.config):
            if reference.model == "Offer" and reference.key not in known:
                label = "there is no such offer, or it is archived"
                self.dropped.append(Dropped(node.type, node.id, label, reference.public_id, ""))
        keys = keys_in_scope(node.config)
        for offer in sorted(self.catalog.offers, key=lambda offer: (-offer.priority, offer.key)):
            reason = why_left_out(node.config, keys, offer)
            if reason:
                self.dropped.append(Dropped(node.type, node.id, reason, offer.name, ""))
                continue
            for channel in self.catalog.channels:
                creative = self.creatives.get((offer.key, channel.key))
                self.pairs.append(_Pair(offer, channel, creative))
        self.notes.append(NodeNote(node.id, node.type, describe_inventory(node.config)))

    def _match_creatives(self, node: MatchCreativesNode) -> None:
        required = node.config.require_creative
        text = "a creative is required" if required else "a creative is not required"
        self.notes.append(NodeNote(node.id, node.type, text))
        if required:
            bare = [pair for pair in self.pairs if pair.creative_key is None]
            self._drop(node, "no active creative with a weight above 0", bare)

    def _filter(self, node: FilterNode, path: str) -> None:
        pairs = [(pair.offer, pair.channel) for pair in self.pairs]
        compiled = compile_filter(node.config.as_condition(), path, self.kinds, pairs)
        self.notes.append(NodeNote(node.id, node.type, compiled.describe()))
        out: list[_Pair] = []
        drafts: dict[Condition, _Draft] = {}
        for pair in self.pairs:
            left = compiled.residual(pair.offer, pair.channel)
            if left is False:
                out.append(pair)
            elif left is not True:
                draft = _Draft(node.type, node.id, _cut(describe(left)), None, left)
                drafts.setdefault(left, draft).pairs.append(pair)
        self._drop(node, "the condition does not hold", out)
        self.drafts.extend(drafts.values())

    def _qualify(self, node: QualifyNode) -> None:
        errors: list[tuple[str, str]] = []
        notes: list[str] = []
        for rule in in_order(self.catalog.rules):
            try:
                notes.extend(self._rule(rule, node))
            except Rejected as error:
                errors.extend(error.errors)
        if errors:
            raise Rejected.of(errors)
        text = f"all active rules ({len(self.catalog.rules)}), highest priority first"
        self.notes.append(NodeNote(node.id, node.type, text, tuple(notes)))

    def _rule(self, rule: RuleFacts, node: QualifyNode) -> list[str]:
        """Apply a rule and return what the plan says about it besides its step."""
        condition = compile_rule(rule, self.kinds)
        is_in_scope = SCOPES[rule.scope]
        pairs = [
            pair
            for pair in self.pairs
            if is_in_scope(rule, pair.offer, pair.channel, pair.creative_key)
        ]
        if not pairs:
            return [f"rule {quoted(rule.name)}: no candidate in its scope"]
        if condition is True:
            return [f"rule {quoted(rule.name)}: lets every customer pass"]
        if condition is False:
            self._drop(node, f"rule {quoted(rule.name)} lets no customer pass", pairs)
            return []
        self.drafts.append(_Draft(node.type, node.id, rule.name, rule.key, condition, pairs))
        return []

    def _score(self, node: ScoreNode, path: str) -> None:
        pairs = [(pair.offer, pair.channel) for pair in self.pairs]
        self.score = compile_score(node.config, path, pairs, self.kinds)
        rules = len(self.catalog.rules)
        if rules and not any(note.type == "qualify" for note in self.notes):
            text = f"no such node: the active rules ({rules}) are not applied"
            self.notes.append(NodeNote("(none)", "qualify", text))
        text, notes = describe_score(node.config)
        self.notes.append(NodeNote(node.id, node.type, text, notes))

    def _drop(self, node: Node, label: str, pairs: list[_Pair]) -> None:
        gone = {pair.name for pair in pairs}
        self.pairs = [pair for pair in self.pairs if pair.name not in gone]
        self.dropped.extend(
            Dropped(node.type, node.id, label, pair.offer.name, pair.channel.name) for pair in pairs
        )

    def _steps(self) -> tuple[Step, ...]:
        index = {pair.name: position for position, pair in enumerate(self.pairs)}
        steps = []
        for draft in self.drafts:
            left = tuple(index[pair.name] for pair in draft.pairs if pair.name in index)
            if left:
                steps.append(
                    Step(
                        stage=draft.stage,
                        node=draft.node,
                        label=draft.label,
                        rule_key=draft.rule_key,
                        condition=draft.condition,
                        candidates=left,
                    )
                )
        return tuple(steps)


def _best_creatives(catalog: Catalog) -> dict[tuple[int, int], int]:
    """Per offer and channel the creative with the largest share of the traffic, then the oldest."""
    best: dict[tuple[int, int], int] = {}
    for creative in sorted(catalog.creatives, key=lambda row: (-row.weight, row.key)):
        if creative.weight > 0:
            best.setdefault((creative.offer_key, creative.channel_key), creative.key)
    return best


def _with_implied(definition: Definition) -> list[tuple[str, Node]]:
    """The nodes with their paths; match_creatives ends the first phase if it is not there."""
    nodes: list[tuple[str, Node]] = [
        (f"nodes[{position}].config", node) for position, node in enumerate(definition.nodes)
    ]
    if any(isinstance(node, MatchCreativesNode) for _, node in nodes):
        return nodes
    implied = MatchCreativesNode.model_construct(
        id=IMPLIED, type="match_creatives", config=MatchCreativesConfig()
    )
    first = next(i for i, (_, node) in enumerate(nodes) if isinstance(node, ScoreNode))
    return [*nodes[:first], ("", implied), *nodes[first:]]


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:99]}…"
