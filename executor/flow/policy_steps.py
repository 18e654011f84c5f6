"""Contact policies as conditions on customers, each with the candidates that it withholds.

A policy becomes steps over frozen columns: counts of the history, and flags of segments. What
depends on no customer, such as a budget or the hour, is decided here. What cannot be evaluated is
withheld: its step holds for nobody, and says why.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from executor.errors import Rejected
from executor.flow.catalog import PolicyFacts
from executor.flow.inputs import Metric, SegmentFlag
from executor.flow.leaves import Verdict
from executor.flow.model import Model
from executor.flow.operators import quoted
from executor.flow.policies import TYPES, AllowOverride, MutualExclusion, PolicyConfig, read_config
from executor.flow.policy_parts import PARTS, Part
from executor.flow.policy_scopes import Pair, PolicyContext, Scope, find_scope
from kaireon import ids

#: A mandatory offer is held back by these all the same, as by whatever is not bypassable.
BIND_MANDATORY = ("frequency_cap", "cross_channel_cap")

_UNREADABLE = (Rejected, LookupError, ValueError, TypeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """A customer keeps the candidates at `positions` only if the condition over columns holds.

    A policy without any candidate has one step without positions that holds for everybody.
    """

    policy_key: int
    name: str
    #: What must hold, or why nobody passes, in words.
    label: str
    condition: Verdict
    positions: tuple[int, ...]
    #: The columns that the condition reads.
    metrics: tuple[Metric, ...] = ()
    segments: tuple[SegmentFlag, ...] = ()


def compile_policies(
    policies: Iterable[PolicyFacts], pairs: Sequence[Pair], context: PolicyContext
) -> tuple[PolicyStep, ...]:
    """The steps of all policies, highest priority first, then the oldest. Never raises Rejected.

    Positions are indices into `pairs`. A candidate in the scope of an `allow_override` is not in
    the steps of bypassable policies, whatever their priority, nor is a mandatory offer's in those
    but of the caps on contacts.
    """
    ordered = sorted(policies, key=lambda policy: (-policy.priority, policy.key))
    overrides = [policy for policy in ordered if policy.rule_type == "allow_override"]
    free = {place for policy in overrides for place in _let_past(policy, pairs, context)}
    mandatory = {place for place, pair in enumerate(pairs) if pair.offer.mandatory}
    steps: list[PolicyStep] = []
    for policy in ordered:
        bound = free if policy.rule_type in BIND_MANDATORY else free | mandatory
        steps.extend(_steps(policy, pairs, context, bound))
    return tuple(steps)


def _let_past(policy: PolicyFacts, pairs: Sequence[Pair], context: PolicyContext) -> Iterator[int]:
    """The candidates of an override; none of one that cannot be read."""
    config, _ = read_config(policy.rule_type, policy.config)
    if config is None:
        return
    for place in policy.places:
        scope = find_scope(place, pairs, context)
        if scope is not None and place[0] in TYPES[policy.rule_type][1]:
            yield from scope.positions


def _steps(
    policy: PolicyFacts, pairs: Sequence[Pair], context: PolicyContext, free: Set[int]
) -> Iterator[PolicyStep]:
    try:
        config = _read(policy)
        is_bypassable = isinstance(config, PolicyConfig) and config.bypassable
        kept = free if is_bypassable else frozenset[int]()
        scopes = _scopes(policy, config, pairs, context, kept)
        if not isinstance(config, MutualExclusion):  # whose group has offers that are not given too
            scopes = tuple(scope for scope in scopes if scope.positions)
        if isinstance(config, AllowOverride):
            parts = [_override(scopes)]
        elif any(scope.positions for scope in scopes):
            parts = list(PARTS[policy.rule_type](config, scopes, pairs, context))
        else:
            parts = []
        parts = parts or [Part("withholds no candidate", True, ())]
    except _UNREADABLE as error:
        parts = [Part(f"cannot be evaluated: {error}", False, _all_of(policy, pairs, context))]
    for part in parts:
        yield PolicyStep(
            policy_key=policy.key,
            name=policy.name,
            label=part.label,
            condition=part.condition,
            positions=part.positions,
            metrics=part.metrics,
            segments=part.segments,
        )


def _read(policy: PolicyFacts) -> Model:
    if policy.rule_type not in TYPES:
        raise ValueError(f"there is no type {quoted(policy.rule_type)}")
    config, faults = read_config(policy.rule_type, policy.config)
    if config is None:
        raise ValueError("; ".join(f"{_below(path)} {text}" for path, text in faults))
    return config


def _below(path: str) -> str:
    return f"config.{path}" if path else "config"


def _scopes(
    policy: PolicyFacts,
    config: Model,
    pairs: Sequence[Pair],
    context: PolicyContext,
    free: Set[int],
) -> tuple[Scope, ...]:
    """Where the policy acts, without the candidates that are let past."""
    places = policy.places
    if isinstance(config, MutualExclusion):
        places += tuple(("offer", ids.decode("Offer", one)) for one in config.offer_ids)
    allowed = TYPES[policy.rule_type][1]
    found = []
    for place in places:
        scope = find_scope(place, pairs, context) if place[0] in allowed else None
        if scope is None:
            raise ValueError(f"its scope is {quoted(place[0])}, with the key {place[1]}")
        found.append(scope.without(free))
    return tuple(found)


def _override(scopes: Sequence[Scope]) -> Part:
    places = {place for scope in scopes for place in scope.positions}
    return Part(f"lets {len(places)} candidates past every policy that is bypassable", True, ())


def _all_of(policy: PolicyFacts, pairs: Sequence[Pair], context: PolicyContext) -> tuple[int, ...]:
    """What a policy that cannot be evaluated withholds: its scope, or all if that is unknown.

    An override that cannot be evaluated withholds nothing: it lets nobody past.
    """
    if policy.rule_type == "allow_override":
        return ()
    scopes = [find_scope(place, pairs, context) for place in policy.places]
    if None in scopes:
        return tuple(range(len(pairs)))
    return tuple(sorted({place for scope in scopes if scope for place in scope.positions}))
