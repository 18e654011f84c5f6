"""How likely a customer is to take an offer: by the offer's outcomes, else by a model, else 0.5.

Most specific first, as documented: 50 outcomes of the offer give its own rate, fewer are blended
with what is known of its category or of all offers, and where nothing is known the model speaks.
"""

from typing import Any

from executor.errors import Rejected
from executor.flow.candidates import Pair
from executor.flow.fields import ref_value
from executor.flow.inputs import MARK
from executor.flow.model import FieldSource
from executor.flow.operators import quoted
from executor.flow.plan import Derived, Term
from executor.flow.scores import Modelled
from executor.flow.scoring_choice import Choice, choose
from executor.flow.sources import COLD_START, resolve_source
from executor.flow.work import Work
from executor.models.endpoint import Endpoint
from executor.models.evidence import Propensities, Share
from executor.models.model import field_ref

MODEL_ALONE = Share(0.0, 1.0)


def choice_propensity(work: Work, choice: Choice, pair: Pair) -> float | Modelled:
    """The propensity that a score is made of, by outcomes and model.

    Raises Rejected for a model that is not there or lacks an input.
    """
    scoring = choice.scoring
    share = MODEL_ALONE
    if scoring.evidence == "first":
        known = Propensities(work.catalog.evidence, scoring.smoothing_weight)
        share = known.share(pair.offer.key, pair.offer.category_key)
    if share.model == 0 or scoring.model_key is None:
        return share.at(COLD_START)
    column = model_column(work, scoring.model_key, pair, share)
    return Modelled(column, share.at(COLD_START))


def rule_propensity(work: Work, model_key: str | None, pair: Pair) -> float | str | Term:
    """The propensity that a rule looks at: the model's, or the one the flow scores with.

    Raises Rejected for a model or a field that cannot be used.
    """
    if model_key is not None:
        return model_column(work, model_key, pair)
    if work.score is None:
        return COLD_START
    [(_, choice)] = choose(*work.score, [pair], work.catalog.profiles)
    scoring = choice.scoring
    if "propensity" in scoring.model_fields_set:
        if not isinstance(scoring.propensity, FieldSource):
            return scoring.propensity
        return resolve_source(scoring.propensity, "propensity", 1.0, pair.facts, work.kinds)
    found = choice_propensity(work, choice, pair)
    return found.column if isinstance(found, Modelled) else found


def model_column(work: Work, model_key: str, pair: Pair, share: Share | None = None) -> str:
    """The column with the model's score for the candidate, one for all that it cannot tell apart.

    Raises Rejected for a model that is not there, and naming every input it lacks.
    """
    model = work.setting.models.get(model_key)
    if model is None:
        known = ", ".join(sorted(work.setting.models)) or "none"
        raise Rejected(f"there is no active model {quoted(model_key)}; there are: {known}")
    missing = model.missing(work.kinds)
    if missing:
        raise Rejected.of(("", text) for _, text in missing)
    columns: list[tuple[str, str]] = []
    constants: list[tuple[str, Any]] = []
    for name in model.fields:
        ref = field_ref(name)
        if ref.namespace == "customer":
            columns.append((name, ref.attribute))
        else:
            constants.append((name, ref_value(ref, *pair.facts)))
    of_offer = pair.offer.key if isinstance(model, Endpoint) else None
    wanted = Derived(
        name="",
        model=model_key,
        columns=tuple(columns),
        constants=tuple(constants),
        offer_key=of_offer,
        share=share or MODEL_ALONE,
    )
    return work.derive(wanted, f"{MARK}model:{model_key}")
