"""A flow while it is compiled: the candidates that are left, and what the nodes found out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from executor.flow.candidates import Pair
from executor.flow.catalog import Catalog
from executor.flow.conditions import Condition
from executor.flow.configs import ScoreConfig
from executor.flow.inputs import Enrichment, Metric, SegmentFlag
from executor.flow.leaves import Verdict, all_of, any_of, negated
from executor.flow.nodes import Node
from executor.flow.plan import Derived, Dropped, NodeNote, Penalty
from executor.flow.types import Kind
from executor.models.model import Model

Guard = Callable[[Pair], Verdict]


@dataclass(frozen=True, slots=True)
class Setting:
    """When and where a flow runs: the instant it takes as now, and the tenant's time zone."""

    now: datetime
    zone: str = "UTC"
    #: Of the campaign that runs: its contacts count as they are given.
    campaign_key: int = 0
    #: The tenant's active models, by key.
    models: Mapping[str, Model] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draft:
    """A step before it is known which candidates remain."""

    stage: str
    node: str
    label: str
    condition: Condition | bool
    rule_key: int | None = None
    policy_key: int | None = None
    pairs: list[Pair] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LimitDraft:
    """A limit before it is known which candidates remain."""

    column: str | None
    most: int
    counts: tuple[Pair, ...]
    closes: tuple[Pair, ...]
    condition: Verdict


@dataclass(slots=True)
class Work:
    catalog: Catalog
    #: Columns a condition may name: the segment's, and those that enrichments have added.
    kinds: dict[str, Kind]
    setting: Setting
    flags: Mapping[int, SegmentFlag]
    #: The column that holds the customer's key.
    key_column: str
    pairs: list[Pair] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[NodeNote] = field(default_factory=list)
    enrichments: list[Enrichment] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)
    #: The score node's config and path, known before the rules that look at it.
    score: tuple[ScoreConfig, str] | None = None
    limits: list[LimitDraft] = field(default_factory=list)
    penalties: dict[tuple[int, ...], list[Penalty]] = field(default_factory=dict)
    #: In which branches of conditionals the present node stands.
    guards: list[Guard] = field(default_factory=list)
    #: Whether all creatives of a channel are variants, wherever they stand.
    ignores_placements: bool = False

    def guard(self, pair: Pair) -> Verdict:
        """For whom the present node concerns the candidate."""
        return all_of(guard(pair) for guard in self.guards)

    @contextmanager
    def guarded(self, guard: Guard) -> Iterator[None]:
        self.guards.append(guard)
        try:
            yield
        finally:
            self.guards.pop()

    def derive(self, wanted: Derived, name: str) -> str:
        """The name of the column that holds this; `wanted` has none yet."""
        key = repr(wanted)
        if key not in self.derived:
            self.derived[key] = replace(wanted, name=f"{name}:{len(self.derived)}")
        return self.derived[key].name

    def note(self, node: Node, text: str, notes: Iterable[str] = (), phase: int = 1) -> None:
        self.notes.append(NodeNote(node.id, node.type, text, tuple(notes), phase))

    def note_absent(self, kind: str, text: str) -> None:
        """Say that nothing of the kind is applied, as no node does."""
        self.notes.append(NodeNote("(none)", kind, text, (), 1))

    def drop_offer(self, node: Node, label: str, name: str) -> None:
        """Note an offer that has no candidates at all."""
        self.dropped.append(Dropped(node.type, node.id, label, name, ""))

    def drop(self, node: Node, label: str, pairs: Iterable[Pair]) -> None:
        """Remove candidates that no customer can have."""
        gone = {pair.name: pair for pair in pairs}
        self.pairs = [pair for pair in self.pairs if pair.name not in gone]
        self.dropped.extend(
            Dropped(node.type, node.id, label, pair.offer.name, pair.channel.name)
            for pair in gone.values()
        )

    def need(
        self,
        node: Node,
        label: Callable[[Condition | bool], str],
        verdicts: Iterable[tuple[Pair, Verdict]],
        rule_key: int | None = None,
        policy_key: int | None = None,
    ) -> None:
        """Have customers meet a condition to keep a candidate; `label` words it.

        What nobody meets is dropped at once; a policy's is not, so that it is counted.
        """
        drafts: dict[Verdict, Draft] = {}
        for pair, verdict in verdicts:
            whole = any_of((negated(self.guard(pair)), verdict))
            if whole is not True:
                if whole not in drafts:
                    drafts[whole] = Draft(
                        node.type, node.id, label(whole), whole, rule_key, policy_key
                    )
                drafts[whole].pairs.append(pair)
        if policy_key is None and False in drafts:
            self.drop(node, drafts[False].label, drafts.pop(False).pairs)
        self.drafts.extend(drafts.values())
