"""Phase 1: which candidates there are, and what a customer must be for each."""

from collections.abc import Iterator
from dataclasses import replace

from executor.errors import Rejected
from executor.flow.calls import Located
from executor.flow.candidates import Pair
from executor.flow.catalog import CreativeFacts, SchemaFacts
from executor.flow.conditions import Condition, describe
from executor.flow.filters import Filter, compile_filter
from executor.flow.inputs import Enrichment
from executor.flow.inventory import (
    describe_inventory,
    keys_in_scope,
    references,
    why_left_out,
)
from executor.flow.leaves import negated
from executor.flow.nodes import (
    BRANCH_TYPES,
    ConditionalNode,
    ContactPolicyNode,
    EnrichNode,
    FilterNode,
    InventoryNode,
    MatchCreativesNode,
    QualifyNode,
)
from executor.flow.operators import quoted
from executor.flow.policy_node import apply_policies
from executor.flow.qualify import qualify
from executor.flow.work import Work
from kaireon import ids


def narrow(work: Work, located: Located) -> None:
    """Run a node of phase 1. Raises Rejected with every fault, under the node's path."""
    node, path = located.node, located.path
    match node:
        case InventoryNode():
            _inventory(work, node)
        case FilterNode():
            _filter(work, node, path)
        case MatchCreativesNode():
            _match_creatives(work, node, path)
        case EnrichNode():
            _enrich(work, node, path)
        case QualifyNode():
            qualify(work, node)
        case ContactPolicyNode():
            apply_policies(work, node)
        case ConditionalNode():
            _conditional(work, node, located)
        case _:
            raise AssertionError(f"{node.type} is not a node of phase 1")


def auto_enrich(work: Work) -> None:
    """Merge the automatic joins, before any node.

    The customers' own columns stay what they are: a segment may have joined some under the same
    name. A join by a column that they do not have adds nothing.
    """
    schemas = {schema.key: schema for schema in work.catalog.schemas}
    own = frozenset(work.kinds)
    for join in work.catalog.joins:
        schema = schemas.get(join.schema_key)
        if schema is None or join.lookup not in own | {work.key_column}:
            continue
        kinds = {c: kind for c, kind in schema.kinds.items() if f"{join.name}.{c}" not in own}
        _add(work, replace(schema, kinds=kinds), join.name, join.lookup, join.foreign_key)


def _inventory(work: Work, node: InventoryNode) -> None:
    known = {offer.key for offer in work.catalog.offers}
    for reference in references(node.config):
        if reference.model == "Offer" and reference.key not in known:
            label = "there is no such offer, or it is archived"
            work.drop_offer(node, label, reference.public_id)
    keys = keys_in_scope(node.config)
    for offer in sorted(work.catalog.offers, key=lambda offer: (-offer.priority, offer.key)):
        reason = why_left_out(node.config, keys, offer, work.setting.now)
        if reason:
            work.drop_offer(node, reason, offer.name)
            continue
        for channel in work.catalog.channels:
            found = [
                Pair(offer, channel, creative.key, creative.placement_key)
                for creative in creatives_of(work, offer.key, channel.key)
            ]
            work.pairs.extend(found or [Pair(offer, channel)])
    work.note(node, describe_inventory(node.config))


def creatives_of(work: Work, offer_key: int, channel_key: int) -> list[CreativeFacts]:
    """Those with a share of the traffic: largest first, then the oldest."""
    found = [
        creative
        for creative in work.catalog.creatives
        if (creative.offer_key, creative.channel_key) == (offer_key, channel_key)
        and creative.weight > 0
    ]
    return sorted(found, key=lambda creative: (-creative.weight, creative.key))


def _match_creatives(work: Work, node: MatchCreativesNode, path: str) -> None:
    config = node.config
    wanted = {ids.decode("Placement", one) for one in config.placement_ids}
    known = {placement.key for placement in work.catalog.placements}
    gone = [
        (f"{path}.placementIds[{position}]", f"there is no active placement {quoted(one)}")
        for position, one in enumerate(config.placement_ids)
        if ids.decode("Placement", one) not in known
    ]
    if gone:
        raise Rejected.of(gone)
    text = f"a creative is {'' if config.require_creative else 'not '}required"
    work.note(node, f"{text}, placements: {config.placement_match_mode}" if wanted else text)
    if config.placement_match_mode == "none":
        work.ignores_placements = True
        work.pairs = [Pair(p.offer, p.channel, p.creative_key) for p in work.pairs]
    elif wanted:
        allowed = wanted if config.placement_match_mode == "exact" else {*wanted, None}
        out = [p for p in work.pairs if p.creative_key and p.placement_key not in allowed]
        work.drop(node, "its creative is for another placement", out)
    if config.require_creative:
        bare = [pair for pair in work.pairs if pair.creative_key is None]
        work.drop(node, "no active creative with a weight above 0", bare)


def _filter(work: Work, node: FilterNode, path: str) -> None:
    compiled = _compiled(work, node, path)
    work.note(node, compiled.describe())
    verdicts = ((pair, compiled.residual(*pair.facts)) for pair in work.pairs)
    work.need(node, _label, list(verdicts))


def _conditional(work: Work, node: ConditionalNode, located: Located) -> None:
    compiled = _compiled(work, node, located.path)
    work.note(node, f"if {compiled.describe()}")
    for word, branch in (("then", located.then), ("otherwise", located.otherwise)):
        holds = word == "then"

        def guard(pair: Pair, holds: bool = holds) -> Condition | bool:
            verdict = compiled.residual(*pair.facts)
            return verdict if holds else negated(verdict)

        with work.guarded(guard):
            for inside in branch:
                if inside.node.type not in BRANCH_TYPES:
                    problem = f"a {inside.node.type} node of a called flow cannot run in a branch"
                    raise Rejected((inside.path, problem))
                narrow(work, inside)


def _compiled(work: Work, node: FilterNode | ConditionalNode, path: str) -> Filter:
    facts = [pair.facts for pair in work.pairs]
    return compile_filter(node.config.as_condition(), path, work.kinds, facts)


def _label(condition: Condition | bool) -> str:
    """The condition in words, at most 100 letters of it."""
    if isinstance(condition, bool):
        return "the condition does not hold"
    text = describe(condition)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _enrich(work: Work, node: EnrichNode, path: str) -> None:
    config = node.config
    if config.schema_id is None:
        work.note(node, "the automatic joins, which are merged in any case")
        return
    key = ids.decode("Schema", config.schema_id)
    schema = next((one for one in work.catalog.schemas if one.key == key), None)
    if schema is None:
        raise Rejected((f"{path}.schemaId", f"there is no schema {quoted(config.schema_id)}"))
    prefix = config.prefix or default_prefix(schema.name)
    lookup = (config.lookup_key or work.key_column).removeprefix("customer.")
    faults = list(_enrich_faults(work, prefix, lookup, path))
    if faults:
        raise Rejected.of(faults)
    _add(work, schema, prefix, lookup, schema.key_column)
    text = f"customer.{prefix}.* from {schema.name}, by {lookup}"
    work.note(node, text, [f"{len(schema.kinds)} columns"])


def _enrich_faults(work: Work, prefix: str, lookup: str, path: str) -> Iterator[tuple[str, str]]:
    if any(one.prefix == prefix for one in work.enrichments):
        problem = f"{quoted(prefix)} is the prefix of an enrichment before; choose another"
        yield f"{path}.prefix", problem
    if lookup != work.key_column and lookup not in work.kinds:
        yield f"{path}.lookupKey", f"the customers have no column {quoted(lookup)}"


def _add(work: Work, schema: SchemaFacts, prefix: str, lookup: str, key_column: str) -> None:
    added = Enrichment(
        prefix=prefix,
        relation_schema=schema.relation_schema,
        relation_name=schema.relation_name,
        key_column=key_column,
        lookup=lookup,
        kinds=schema.kinds,
    )
    work.enrichments.append(added)
    work.kinds.update({added.name(column): kind for column, kind in schema.kinds.items()})


def default_prefix(name: str) -> str:
    """A schema's name as the start of column names."""
    letters = "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()).strip("_")
    return letters[:31] if letters[:1].isalpha() else f"s_{letters}"[:31]
