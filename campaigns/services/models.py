"""Making and changing algorithm models."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from campaigns.models import AlgorithmModel, Status
from campaigns.services.keys import changed_key_faults
from campaigns.services.resources import check_version, create_row, update_row
from executor.artifacts import facts_of, open_model
from executor.errors import Rejected
from executor.models import checks, values
from executor.storage import open_storage
from kaireon.access.models import Tenant

Fault = tuple[str, str]
MAX_KEYS = 100
MAX_PREDICTORS = checks.MAX_PREDICTORS
MAX_TEXT = values.MAX_TEXT
OBJECTS = {
    "config": "config",
    "metrics": "metrics",
    "model_state": "modelState",
    "learning_config": "learningConfig",
}


def create_model(tenant: Tenant, fields: Mapping[str, Any]) -> AlgorithmModel:
    """Make a model. Raises Rejected with every fault, Conflict for a key the tenant has."""
    reject_faults(AlgorithmModel(tenant=tenant, **fields))
    return create_row(AlgorithmModel, tenant, dict(fields))


def update_model(
    model: AlgorithmModel, fields: Mapping[str, Any], expected: int | None = None
) -> AlgorithmModel:
    """Set fields of a model that the caller has locked; JSON values are replaced as a whole.

    Raises Rejected with every fault of what the model would become.
    """
    check_version(model, expected)
    changed_key = list(changed_key_faults(model, fields))
    for name, value in fields.items():
        setattr(model, name, value)
    reject_faults(model, changed_key)
    return update_row(model, dict(fields))


def reject_faults(model: AlgorithmModel, others: list[Fault] | None = None) -> None:
    faults = [*(others or ()), *islice(find_faults(model), checks.MAX_FAULTS)]
    if faults:
        raise Rejected.of(faults)


def find_faults(model: AlgorithmModel) -> Iterator[Fault]:
    """What is wrong; a model without faults is compiled if it is active, to see that it can be."""
    faults = list(islice(stored_faults(model), checks.MAX_FAULTS))
    if model.status == Status.ACTIVE and not faults:
        try:
            open_model(facts_of(model), open_storage())
        except Rejected as error:
            faults = error.errors
    yield from faults


def stored_faults(model: AlgorithmModel) -> Iterator[Fault]:
    for name, documented in OBJECTS.items():
        count = len(getattr(model, name))
        if count > MAX_KEYS:
            yield documented, f"Has {count} keys; at most {MAX_KEYS} are allowed."
    yield from checks.predictor_faults(model.predictors)
    yield from checks.model_faults(
        model.model_type,
        model.config,
        model.model_state,
        complete=model.status == Status.ACTIVE,
    )
