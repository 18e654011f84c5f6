"""Phase 2: how much the candidates are worth, and which of them a customer gets."""

from collections.abc import Iterator, Mapping

from executor.errors import Rejected
from executor.flow.calls import Located
from executor.flow.catalog import OfferFacts
from executor.flow.configs import OptimizeConfig, ScoreConfig, Scoring
from executor.flow.days import days_back
from executor.flow.factors import FATIGUE_DAYS, Factor, factors, objective_factors
from executor.flow.inputs import Metric
from executor.flow.nodes import ExtensionPointNode, GroupNode, OptimizeNode, RankNode, ScoreNode
from executor.flow.operators import quoted
from executor.flow.plan import Ranking, ScorePlan
from executor.flow.propensity import choice_propensity, model_column
from executor.flow.scores import FactorsOf, Scorer, describe_factor
from executor.flow.scoring_choice import Choice, choose
from executor.flow.work import Work
from kaireon import ids


def score_plan(work: Work, located: list[Located]) -> ScorePlan:
    """Compile score, optimize and score override together: the last of them has its way.

    Raises Rejected with every fault, under the path of its node.
    """
    nodes = [one for one in located if one.phase == 2]
    node, place = next((one.node, one.path) for one in nodes if isinstance(one.node, ScoreNode))
    config = node.config
    chosen = choose(config, place, work.pairs, work.catalog.profiles)
    _note_rules(work)
    text, notes = describe_score(config)
    work.note(node, text, notes, phase=2)
    factors_of, path = _own_factors(work), ""
    for one in nodes:
        replaced = _replacement(work, one)
        if replaced is not None:
            factors_of, path = replaced, one.path
    if path:
        chosen = [(pair, Choice(choice.scoring, path)) for pair, choice in chosen]
    scorer = Scorer(
        work.kinds,
        lambda choice, pair: choice_propensity(work, choice, pair),
        lambda model, pair: model_column(work, model, pair),
        lambda: _recent_contacts(work),
        work.penalties,
    )
    return scorer.plan(chosen, factors_of, config.score_floor)


def _recent_contacts(work: Work) -> str:
    since = days_back(work.setting.now, work.setting.zone, FATIGUE_DAYS)
    metric = Metric("contacts", since=since)
    work.metrics[metric.name] = metric
    return metric.name


def ranking(work: Work, located: list[Located]) -> Ranking:
    """What rank and group come to together."""
    rank = next(one.node for one in located if isinstance(one.node, RankNode))
    group = next((one.node for one in located if isinstance(one.node, GroupNode)), None)
    config = rank.config
    per_category = config.max_per_category
    if config.method == "diversity":
        per_category = per_category or 1
    text = f"{config.method}, at most {config.max_candidates} per customer, one per offer"
    if per_category is not None:
        text += f", {per_category} per category"
    work.note(rank, text, phase=2)
    slots: Mapping[int, int] = {}
    if group is not None:
        slots = {one.key: one.max_slots for one in work.catalog.placements}
        used = {pair.placement_key for pair in work.pairs}
        notes = [
            f"{one.name}: at most {one.max_slots}"
            for one in work.catalog.placements
            if one.key in used
        ]
        work.note(group, "best first into the slots of each placement", notes, phase=2)
    return Ranking(config.max_candidates, config.method, per_category, slots)


def describe_score(config: ScoreConfig) -> tuple[str, tuple[str, ...]]:
    """The method in one line, and one line per factor and override."""
    notes = [*_factor_notes(config)]
    for strategy in config.strategy_overrides:
        where = f"{strategy.scope} {quoted(strategy.value)}"
        notes.append(f"{where}: weights of {strategy.profile_id}")
    for override in config.channel_overrides:
        notes.append(f"channel {override.channel_id}: {override.method}")
        notes.extend(f"  {note}" for note in _factor_notes(override))
    if config.score_floor:
        notes.append(f"what scores below {config.score_floor:g} is not recommended")
    if config.method == "priority_weighted":
        return "priority_weighted, (priority / 100) x (weight / 100)", tuple(notes)
    used = [factor for factor in factors(config) if factor.weight > 0]
    formula = " x ".join(f"{factor.letter}^{factor.weight:g}" for factor in used)
    return f"{config.method}, {formula}", tuple(notes)


def _factor_notes(config: Scoring) -> Iterator[str]:
    if config.method != "priority_weighted":
        yield from (describe_factor(factor) for factor in factors(config) if factor.weight > 0)
    if config.model_key is not None:
        yield f"model {config.model_key}, outcomes {config.evidence}"


def _note_rules(work: Work) -> None:
    """Rules without a node that applies them are worth a word, and so are policies."""
    for kind, number in (
        ("qualify", len(work.catalog.rules)),
        ("contact_policy", len(work.catalog.policies)),
    ):
        if number and not any(note.type == kind for note in work.notes):
            what = "rules" if kind == "qualify" else "policies"
            work.note_absent(kind, f"no such node: the active {what} ({number}) are not applied")


def _own_factors(work: Work) -> FactorsOf:
    """Those of the method, or the objectives of a profile that stands in for its weights."""

    def own(choice: Choice) -> tuple[Factor, ...]:
        if choice.weights is None:
            return factors(choice.scoring)
        return objective_factors(choice.scoring, choice.weights, _offers(work))

    return own


def _replacement(work: Work, one: Located) -> FactorsOf | None:
    """The factors that a node puts in place of those before it, if it does."""
    node = one.node
    if isinstance(node, OptimizeNode):
        weights = _objectives(work, one, node.config)
        listed = ", ".join(f"{name} {weight:g}" for name, weight in weights.items() if weight)
        work.note(node, f"by {listed}", phase=2)
        return lambda choice: objective_factors(choice.scoring, weights, _offers(work))
    if isinstance(node, ExtensionPointNode) and node.config.model_key is not None:
        factor = Factor("score", "S", 1.0, None, node.config.model_key)
        return lambda choice: (factor,)
    return None


def _objectives(work: Work, one: Located, config: OptimizeConfig) -> Mapping[str, float]:
    if config.weights is not None:
        return config.weights
    key = ids.decode("RankingProfile", str(config.profile_id))
    found = next((profile for profile in work.catalog.profiles if profile.key == key), None)
    if found is None:
        problem = f"there is no ranking profile {quoted(config.profile_id)}"
        raise Rejected((f"{one.path}.profileId", problem))
    return found.weights


def _offers(work: Work) -> list[OfferFacts]:
    return list({pair.offer.key: pair.offer for pair in work.pairs}.values())
