"""The plan of a flow: candidates, what a customer must meet for each, and how they are scored.

This is all the executor needs to know of a flow; `printed` shows it to the reader.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from executor.flow.catalog import ChannelFacts, OfferFacts
from executor.flow.conditions import Condition
from executor.flow.inputs import Enrichment, Inputs
from executor.flow.types import Kind
from executor.models.evidence import Share

RankMethod = Literal["top_n", "diversity", "round_robin", "weighted_random"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An offer in a channel through a creative: indices into the plan's offers and channels."""

    offer: int
    channel: int
    creative_key: int | None
    placement_key: int | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Variants of one offer in one channel and placement: each customer may have one of them.

    Which one is decided by h(key): the candidate whose share of the weights it falls into.
    """

    #: None is one that no customer can have; whose share it is gets none of the others.
    candidates: tuple[int | None, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A customer keeps these candidates only if the condition over frozen columns holds.

    A condition that is False holds for nobody.
    """

    stage: str
    node: str
    label: str
    condition: Condition | bool
    candidates: tuple[int, ...]
    rule_key: int | None = None
    policy_key: int | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that no customer can have, and why; no channel means the offer in all."""

    stage: str
    node: str
    label: str
    offer: str
    channel: str


@dataclass(frozen=True, slots=True)
class Term:
    """Adds weight * ln(clip((x - low) / (high - low), 0, 1)) to a candidate's log score.

    x is the customer's column, true is 1 and false is 0. Where x is NULL or NaN the clipped value
    is `default`. `low` may exceed `high`: then less is better. An `is_open` term is a score by
    itself: it is not cut off at 1.
    """

    column: str
    low: float
    high: float
    weight: float
    default: float
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Penalty:
    """Multiplies the score of a customer for whom the condition does not hold."""

    condition: Condition | bool
    multiplier: float
    label: str
    rule_key: int


@dataclass(frozen=True, slots=True)
class Derived:
    """A column that a model computes: of the customer's columns and constants of a candidate.

    Its values are `share` of the model's score; null where the model cannot tell.
    """

    name: str
    model: str
    #: Input of the model -> the frozen column that holds it.
    columns: tuple[tuple[str, str], ...]
    #: Input of the model -> its value for these candidates.
    constants: tuple[tuple[str, Any], ...]
    #: Whom an external endpoint is asked about.
    offer_key: int | None = None
    share: Share = field(default_factory=lambda: Share(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """Per candidate: the sum of the logs of all that is constant, and the terms to be added.

    A constant of -inf means a factor is 0: the candidate scores 0 for everybody.
    """

    constants: tuple[float, ...]
    terms: tuple[tuple[Term | Penalty, ...], ...]
    #: What scores below is worth nothing.
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """What a policy leaves room for in one run: `most`, less what `column` counts already.

    Picks among `counts` use it up, and then the candidates of `closes` are out.
    """

    column: str | None
    most: int
    counts: tuple[int, ...]
    closes: tuple[int, ...]
    #: Whom it concerns: those whom the policy's node concerns.
    condition: Condition | bool = True


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which offers a customer gets: at most `k`, one through one candidate each."""

    k: int = 0
    method: RankMethod = "top_n"
    #: Most offers of one category.
    per_category: int | None = None
    #: Placement -> most offers in it; only with a group node.
    slots: Mapping[int, int] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the k best offers are the answer, whatever they are."""
        return self.method == "top_n" and not self.slots and not self.limits


@dataclass(frozen=True, slots=True)
class Properties:
    """What the output nodes put beside a recommendation."""

    #: Names of the computed fields to evaluate; None is all that something reads.
    computed: tuple[str, ...] | None = None
    constants: tuple[tuple[str, Any], ...] = ()
    #: Name, formula, type of what it gives.
    formulas: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeNote:
    """A node in words, for the printed plan."""

    node: str
    type: str
    text: str
    notes: tuple[str, ...] = ()
    phase: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Candidates are in tie order: offers by priority (highest first) and key, then channels."""

    offers: tuple[OfferFacts, ...]
    channels: tuple[ChannelFacts, ...]
    candidates: tuple[Candidate, ...]
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    score: ScorePlan
    ranking: Ranking
    #: Columns of the segment and of enrichments that steps, terms and models read.
    columns: frozenset[str]
    inputs: Inputs = field(default_factory=Inputs)
    #: All there are, read or not, and the kinds of every column a template may name.
    enrichments: tuple[Enrichment, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    derived: tuple[Derived, ...] = ()
    splits: tuple[Split, ...] = ()
    properties: Properties = field(default_factory=Properties)
    nodes: tuple[NodeNote, ...] = ()

    @property
    def k(self) -> int:
        """Offers a customer gets at most."""
        return self.ranking.k

    @property
    def is_hashed(self) -> bool:
        """Whether deciding needs h(key)."""
        return bool(self.splits) or self.ranking.method == "weighted_random"

    def why_empty(self) -> str:
        """Why there is no candidate at all, for the reader; empty if there is one."""
        if self.candidates:
            return ""
        if not self.channels:
            return "there is no batch channel to use"
        if not self.dropped:
            return "there are no offers"
        reasons = Counter((drop.stage, drop.node, drop.label) for drop in self.dropped)
        return "; ".join(
            f'{stage} "{node}" dropped {count} ({label})'
            for (stage, node, label), count in reasons.items()
        )
