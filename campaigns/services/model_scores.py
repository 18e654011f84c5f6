"""One customer scored by a model, to look at; and the files of imported models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from campaigns.models import AlgorithmModel
from campaigns.services.models import reject_faults
from campaigns.services.resources import update_row
from executor.artifacts import facts_of, open_model, store_artifact
from executor.errors import Rejected
from executor.flow.fields import did_you_mean
from executor.models import onnx_file
from executor.models.model import Contribution, Model
from executor.models.onnx_model import open_session
from executor.storage import open_storage

MAX_ARTIFACT_BYTES = onnx_file.MAX_BYTES


@dataclass(frozen=True, slots=True)
class Scored:
    """A score is None where the model cannot tell; the raw score where the type has none."""

    score: float | None
    raw_score: float | None
    confidence: float | None
    explanations: list[Contribution]


def score_attributes(row: AlgorithmModel, attributes: Mapping[str, Any]) -> Scored:
    """Score a customer who has these attributes, whatever the model's status.

    Raises Rejected naming the inputs that are missing, what is wrong with one, or with the model.
    """
    model = open_model(facts_of(row), open_storage())
    values = inputs_of(model, attributes)
    try:
        score = float(model.score(values, 1)[0])
        explanations = model.explain(values)
    except Rejected as error:
        inside = (
            (place if place == "modelType" else f"attributes.{place}", text)
            for place, text in error.errors
        )
        raise Rejected.of(inside) from error
    parts = [each.contribution for each in explanations]
    raw = None if model.base is None else finite(sum(parts, start=model.base))
    return Scored(finite(score), raw, model.confidence, explanations)


def inputs_of(model: Model, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The model's inputs; a customer's attribute may be given with or without `customer.`."""
    values: dict[str, Any] = {}
    faults = []
    for field in model.fields:
        names = (field, field.removeprefix("customer."), f"customer.{field}")
        given = next((name for name in names if name in attributes), None)
        if given is None:
            hint = did_you_mean(field, attributes)
            faults.append((f"attributes.{field}", f"The model needs it; null if missing{hint}"))
        else:
            values[field] = attributes[given]
    if faults:
        raise Rejected.of(faults)
    return values


def finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def replace_artifact(row: AlgorithmModel, data: bytes) -> AlgorithmModel:
    """Give an imported model, which the caller has locked, its file.

    Raises Rejected for a file that cannot be loaded, or that an active model cannot work with.
    """
    if row.model_type != AlgorithmModel.ModelType.ONNX_IMPORTED:
        problem = f"Only an onnx_imported model has a file; this one is {row.model_type}."
        raise Rejected(("modelType", problem))
    open_session(data)
    row.artifact_sha256 = store_artifact(open_storage(), row.pk, data)
    row.artifact_size_bytes = len(data)
    reject_faults(row)
    return update_row(row, {})
