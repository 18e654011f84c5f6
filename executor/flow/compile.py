"""Definition and catalog in, plan out: everything that no customer can change is decided here."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from executor.errors import Rejected
from executor.flow.calls import Located, inline
from executor.flow.catalog import Catalog
from executor.flow.conditions import fields
from executor.flow.configs import MatchCreativesConfig
from executor.flow.inputs import Inputs, read_of
from executor.flow.narrow import auto_enrich, creatives_of, narrow
from executor.flow.nodes import (
    Definition,
    ExtensionPointNode,
    MatchCreativesNode,
    ScoreNode,
)
from executor.flow.output import output
from executor.flow.parse import parse_flow
from executor.flow.plan import Candidate, Limit, Plan, Ranking, ScorePlan, Split, Step, Term
from executor.flow.scored import ranking, score_plan
from executor.flow.types import Kind
from executor.flow.work import Setting, Work

#: No user's node can have this id.
IMPLIED = "(implied)"


def compile_flow(
    definition: Mapping[str, object] | Definition,
    catalog: Catalog,
    kinds: Mapping[str, Kind],
    setting: Setting,
    key_column: str = "",
) -> Plan:
    """Compile a flow for these offers, channels and customer columns.

    A plan without candidates is possible: `plan.why_empty()` says why. Raises Rejected with every
    fault: of the definition, of the rules, and names the customers or offers do not have.
    """
    if not isinstance(definition, Definition):
        definition = parse_flow(definition)
    called = {flow.name: parse_flow(flow.config) for flow in catalog.flows}
    located = _with_implied(inline(definition, called))
    work = Work(
        catalog=catalog,
        kinds={name: Kind(kind) for name, kind in kinds.items()},
        setting=setting,
        flags={one.key: one.flag for one in catalog.segments},
        key_column=key_column,
    )
    work.score = next(
        (one.node.config, one.path) for one in located if isinstance(one.node, ScoreNode)
    )
    return _compile(work, located)


def _compile(work: Work, located: list[Located]) -> Plan:
    errors: list[tuple[str, str]] = []
    auto_enrich(work)
    for one in located:
        try:
            if isinstance(one.node, ExtensionPointNode):
                _note_extension(work, one.node, one.phase)
            elif one.phase == 1:
                narrow(work, one)
        except Rejected as error:
            errors.extend(error.errors)
    scored = ScorePlan((), ())
    try:
        scored = score_plan(work, located)
    except Rejected as error:
        errors.extend(error.errors)
    if errors:
        raise Rejected.of(dict.fromkeys(errors))
    return _plan(work, scored, located)


def _plan(work: Work, scored: ScorePlan, located: list[Located]) -> Plan:
    offers = tuple({pair.offer.key: pair.offer for pair in work.pairs}.values())
    offer_index = {offer.key: index for index, offer in enumerate(offers)}
    channel_index = {channel.key: i for i, channel in enumerate(work.catalog.channels)}
    steps, splits = _steps(work), _splits(work)
    ranked = ranking(work, located)
    ranked = replace(ranked, limits=_limits(work, ranked.k))
    properties = output(work, located)
    named = _named(steps, scored, ranked)
    derived = tuple(one for one in work.derived.values() if one.name in named)
    named |= {column for one in derived for _, column in one.columns}
    return Plan(
        offers=offers,
        channels=work.catalog.channels,
        candidates=tuple(
            Candidate(
                offer_index[pair.offer.key],
                channel_index[pair.channel.key],
                pair.creative_key,
                pair.placement_key,
            )
            for pair in work.pairs
        ),
        steps=steps,
        dropped=tuple(work.dropped),
        score=scored,
        ranking=ranked,
        columns=frozenset(named - _marked(work)),
        inputs=_inputs(work, named),
        enrichments=tuple(work.enrichments),
        kinds=work.kinds,
        derived=derived,
        splits=splits,
        properties=properties,
        nodes=tuple(sorted(work.notes, key=lambda note: note.phase)),
    )


def _steps(work: Work) -> tuple[Step, ...]:
    index = {pair.name: position for position, pair in enumerate(work.pairs)}
    steps = []
    for draft in work.drafts:
        left = tuple(index[pair.name] for pair in draft.pairs if pair.name in index)
        if left:
            steps.append(
                Step(
                    stage=draft.stage,
                    node=draft.node,
                    label=draft.label,
                    condition=draft.condition,
                    candidates=left,
                    rule_key=draft.rule_key,
                    policy_key=draft.policy_key,
                )
            )
    return tuple(steps)


def _limits(work: Work, k: int) -> tuple[Limit, ...]:
    """The limits that more than one pick can meet: an offer is never picked twice anyway."""
    index = {pair.name: position for position, pair in enumerate(work.pairs)}
    found: dict[Limit, None] = {}
    for draft in work.limits if k > 1 else ():
        counts, closes = (
            tuple(index[pair.name] for pair in pairs if pair.name in index)
            for pairs in (draft.counts, draft.closes)
        )
        offers = {work.pairs[position].offer.key for position in (*counts, *closes)}
        if counts and closes and len(offers) > 1:
            found[Limit(draft.column, draft.most, counts, closes, draft.condition)] = None
    return tuple(found)


def _splits(work: Work) -> tuple[Split, ...]:
    """Creatives of one offer in one channel and placement share the customers by weight.

    Those that no customer can have keep their share, as those that a customer cannot have do.
    """
    index = {pair.name: position for position, pair in enumerate(work.pairs)}
    variants: dict[tuple[int, int, int | None], list[tuple[int | None, int]]] = {}
    for offer, channel in dict.fromkeys((one.offer.key, one.channel.key) for one in work.pairs):
        for creative in creatives_of(work, offer, channel):
            placement = None if work.ignores_placements else creative.placement_key
            position = index.get((offer, channel, creative.key))
            found = variants.setdefault((offer, channel, placement), [])
            found.append((position, creative.weight))
    return tuple(
        Split(tuple(position for position, _ in these), tuple(weight for _, weight in these))
        for these in variants.values()
        if len(these) > 1 and any(position is not None for position, _ in these)
    )


def _named(steps: Iterable[Step], scored: ScorePlan, ranked: Ranking) -> set[str]:
    """Every column that a condition, a score or a limit reads."""
    conditions = [step.condition for step in steps]
    conditions += [limit.condition for limit in ranked.limits]
    named = {limit.column for limit in ranked.limits if limit.column is not None}
    for terms in set(scored.terms):
        for term in terms:
            if isinstance(term, Term):
                named.add(term.column)
            else:
                conditions.append(term.condition)
    for condition in conditions:
        if not isinstance(condition, bool):
            named |= fields(condition)
    return named


def _marked(work: Work) -> set[str]:
    """Columns that belong to no table."""
    names = {flag.name for flag in work.flags.values()} | set(work.metrics)
    return names | {one.name for one in work.derived.values()}


def _inputs(work: Work, named: set[str]) -> Inputs:
    """What the freeze puts beside the segment's columns: of each enrichment only what is read."""
    return Inputs(
        enrichments=read_of(tuple(work.enrichments), named),
        segments=tuple(flag for flag in work.flags.values() if flag.name in named),
        metrics=tuple(metric for name, metric in work.metrics.items() if name in named),
    )


def _note_extension(work: Work, node: ExtensionPointNode, phase: int) -> None:
    key = node.config.model_key
    text = f"{node.config.hook}, " + (f"scored by model {key}" if key else "nothing is configured")
    work.note(node, text, phase=phase)


def _with_implied(located: list[Located]) -> list[Located]:
    """The nodes; match_creatives ends the first phase if it is not there."""
    if any(isinstance(one.node, MatchCreativesNode) for one in located):
        return located
    implied = MatchCreativesNode.model_construct(
        id=IMPLIED, type="match_creatives", config=MatchCreativesConfig()
    )
    first = next(i for i, one in enumerate(located) if one.phase > 1)
    return [*located[:first], Located("", implied, 1), *located[first:]]
