"""The files of imported models: content-addressed in the storage, so a run's facts stay true.

A file is never overwritten and outlives its model: runs that froze its name can still be replayed.
"""

import hashlib

from campaigns.models import AlgorithmModel
from executor.errors import Broken
from executor.flow.catalog import ModelFacts
from executor.models.compile import compile_model
from executor.models.model import Model
from executor.storage import Storage


def facts_of(row: AlgorithmModel) -> ModelFacts:
    """What a run freezes of a model."""
    sha256 = row.artifact_sha256 if row.model_type == AlgorithmModel.ModelType.ONNX_IMPORTED else ""
    return ModelFacts(
        key=row.pk or 0,
        name=row.key,
        model_type=row.model_type,
        config=row.config,
        predictors=tuple(row.predictors),
        model_state=row.model_state,
        artifact_key=artifact_key(row.pk, sha256) if sha256 else "",
        artifact_sha256=sha256,
    )


def artifact_key(model_key: int, sha256: str) -> str:
    return f"models/{model_key}/{sha256}.onnx"


def store_artifact(storage: Storage, model_key: int, data: bytes) -> str:
    """Keep the file of a model and return its SHA-256."""
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(artifact_key(model_key, sha256), data)
    return sha256


def open_model(facts: ModelFacts, storage: Storage) -> Model:
    """Compile a model, with its file if it has one.

    Raises Rejected for what is wrong with the model, Broken if the file is not what it was.
    """
    if not facts.artifact_key:
        return compile_model(facts)
    try:
        data = storage.get(facts.artifact_key)
    except FileNotFoundError as error:
        raise Broken(f"the file of the model {facts.name} is gone from the storage") from error
    if hashlib.sha256(data).hexdigest() != facts.artifact_sha256:
        raise Broken(f"the file of the model {facts.name} is not the one that was uploaded")
    return compile_model(facts, data)
