"""Turns the frozen facts of a model into what scores columns."""

from collections.abc import Iterator

from executor.errors import Rejected
from executor.flow.catalog import ModelFacts
from executor.flow.operators import quoted
from executor.models.bayesian import NaiveBayes
from executor.models.boosted import BoostedTrees
from executor.models.checks import CHECKS, model_faults, predictor_faults
from executor.models.endpoint import Endpoint
from executor.models.logistic import LogisticRegression
from executor.models.model import Fault, Model, field_ref
from executor.models.onnx_model import OnnxModel
from executor.models.scorecard import Scorecard


def compile_model(facts: ModelFacts, artifact: bytes | None = None) -> Model:
    """The model that the facts describe; `artifact` is the file of an imported one.

    Raises Rejected with everything that is wrong, naming the model.
    """
    faults = list(_faults(facts, artifact))
    if not faults:
        try:
            model = _build(facts, artifact)
        except Rejected as error:
            faults = error.errors
        else:
            faults = list(_field_faults(model))
    if faults:
        raise Rejected.of((path, f"model {quoted(facts.name)}: {text}") for path, text in faults)
    return model


def _faults(facts: ModelFacts, artifact: bytes | None) -> Iterator[Fault]:
    if facts.model_type not in CHECKS:
        yield "modelType", f"{quoted(facts.model_type)} is not one of: {', '.join(CHECKS)}"
        return
    yield from predictor_faults(list(facts.predictors))
    yield from model_faults(facts.model_type, facts.config, facts.model_state, complete=True)
    if facts.model_type == "onnx_imported" and artifact is None:
        yield "artifact", "has no file yet; upload one with PUT …/artifact"


def _build(facts: ModelFacts, artifact: bytes | None) -> Model:
    match facts.model_type:
        case "scorecard":
            return Scorecard(facts.name, facts.config)
        case "logistic_regression":
            return LogisticRegression(facts.name, facts.config, facts.predictors, facts.model_state)
        case "bayesian":
            return NaiveBayes(facts.name, facts.config, facts.predictors, facts.model_state)
        case "gradient_boosted":
            return BoostedTrees(facts.name, facts.config, facts.model_state)
        case "external_endpoint":
            return Endpoint(facts.name, facts.config, facts.predictors)
        case _:
            return OnnxModel(facts.name, facts.config, artifact or b"")


def _field_faults(model: Model) -> Iterator[Fault]:
    for field in model.fields:
        try:
            field_ref(field)
        except Rejected as error:
            yield from ((field, text) for _, text in error.errors)
