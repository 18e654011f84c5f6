"""How each candidate is scored: as the score node says, or as one of its overrides does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from executor.errors import Rejected
from executor.flow.candidates import Pair
from executor.flow.catalog import ProfileFacts
from executor.flow.configs import ScoreConfig, Scoring, StrategyOverride
from executor.flow.factors import check_scoring, factors
from executor.flow.model import FieldSource
from executor.flow.operators import quoted
from executor.flow.sources import check_source
from kaireon import ids

Fault = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Choice:
    """What scores a candidate, where that stands, and the weights of a profile if there is one."""

    scoring: Scoring
    path: str
    weights: Mapping[str, float] | None = None


def choose(
    config: ScoreConfig, path: str, pairs: Sequence[Pair], profiles: Sequence[ProfileFacts]
) -> list[tuple[Pair, Choice]]:
    """The choice of each candidate: its channel's, else by strategy, else the node's own.

    Raises Rejected naming every profile that is gone.
    """
    known = {ids.encode("RankingProfile", profile.key): profile.weights for profile in profiles}
    errors = [
        (f"{path}.{place}", f"there is no ranking profile {quoted(profile_id)}")
        for place, profile_id in profile_ids(config)
        if profile_id not in known
    ]
    if errors:
        raise Rejected.of(errors)
    own = Choice(config, path, _weights(config, known))
    channels = {
        override.channel_id: Choice(
            override, f"{path}.channelOverrides[{position}]", _weights(override, known)
        )
        for position, override in enumerate(config.channel_overrides)
    }
    chosen = []
    for pair in pairs:
        choice = channels.get(ids.encode("Channel", pair.channel.key), own)
        strategy = next((o for o in config.strategy_overrides if _concerns(o, pair)), None)
        if strategy is not None and choice.scoring.method == "formula":
            choice = Choice(choice.scoring, choice.path, known[strategy.profile_id])
        chosen.append((pair, choice))
    return chosen


def profile_ids(config: ScoreConfig) -> Iterator[tuple[str, str]]:
    """Every ranking profile the config names, with its path below the config."""
    if config.strategy_profile_id is not None:
        yield "strategyProfileId", config.strategy_profile_id
    for position, override in enumerate(config.channel_overrides):
        if override.strategy_profile_id is not None:
            yield (
                f"channelOverrides[{position}].strategyProfileId",
                override.strategy_profile_id,
            )
    for position, strategy in enumerate(config.strategy_overrides):
        yield f"strategyOverrides[{position}].profileId", strategy.profile_id


def model_keys(config: ScoreConfig) -> Iterator[tuple[str, str]]:
    """Every model the config names, with its path below the config."""
    if config.model_key is not None:
        yield "modelKey", config.model_key
    for position, override in enumerate(config.channel_overrides):
        if override.model_key is not None:
            yield f"channelOverrides[{position}].modelKey", override.model_key


def asks_evidence(config: ScoreConfig, *, is_looked_at: bool) -> bool:
    """Whether how customers have answered may decide a propensity that this config makes.

    `is_looked_at`: whether something besides the method asks for the propensity.
    """
    return any(
        scoring.evidence == "first"
        and "propensity" not in scoring.model_fields_set
        and (is_looked_at or scoring.method != "priority_weighted")
        for scoring in (config, *config.channel_overrides)
    )


def check_score(config: ScoreConfig) -> Iterator[Fault]:
    """Faults the shape cannot show, with paths below the config."""
    yield from _scoring_faults(config)
    if config.strategy_overrides and config.method != "formula":
        remedy = "remove them or change the method"
        yield "strategyOverrides", f'are only used with method "formula": {remedy}'
    seen: set[str] = set()
    for position, override in enumerate(config.channel_overrides):
        path = f"channelOverrides[{position}]"
        if ids.decode("Channel", override.channel_id) is None:
            yield f"{path}.channelId", f"{quoted(override.channel_id)} is not a channel id (ch_…)"
        elif override.channel_id in seen:
            yield f"{path}.channelId", "is the channel of another override, too"
        seen.add(override.channel_id)
        yield from ((f"{path}.{place}", text) for place, text in _scoring_faults(override))
    for place, one in profile_ids(config):
        if ids.decode("RankingProfile", one) is None:
            yield place, f"{quoted(one)} is not a ranking profile id (rp_…)"


def _scoring_faults(scoring: Scoring) -> Iterator[Fault]:
    yield from check_scoring(scoring)
    if scoring.method == "priority_weighted":
        return
    for factor in factors(scoring):
        if isinstance(factor.source, FieldSource):
            try:
                check_source(factor.source, factor.name)
            except Rejected as error:
                yield from ((f"{factor.name}.{place}", text) for place, text in error.errors)


def _weights(
    scoring: Scoring, known: Mapping[str, Mapping[str, float]]
) -> Mapping[str, float] | None:
    return None if scoring.strategy_profile_id is None else known[scoring.strategy_profile_id]


def _concerns(override: StrategyOverride, pair: Pair) -> bool:
    found = {
        "category": pair.offer.category_name,
        "productType": pair.offer.product_type,
        "channel": pair.channel.name,
    }
    return found[override.scope] == override.value
