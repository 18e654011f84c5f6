"""Models elsewhere: customers and offers go out in batches, scores come back."""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from executor.errors import Rejected
from executor.flow.catalog import OfferFacts
from executor.flow.operators import quoted
from executor.flow.types import Kind
from executor.models.model import Columns, Model, Scores, field_ref
from executor.models.values import is_number
from kaireon import ids, outgoing

logger = logging.getLogger(__name__)

#: Requests in a row that fail before the endpoint is left alone for the rest of a chunk.
PATIENCE = 3


class Endpoint(Model):
    """Sends the customers' columns that its predictors name; scores are used as they come."""

    def __init__(
        self, name: str, config: Mapping[str, Any], predictors: tuple[Mapping[str, Any], ...]
    ) -> None:
        fields = (item["field"] for item in predictors if item.get("selected", True))
        super().__init__(name, tuple(dict.fromkeys(fields)))
        others = [each for each in self.fields if field_ref(each).namespace != "customer"]
        if others:
            problem = f"{quoted(others[0])} is no column of the customers; offers are sent anyway"
            raise Rejected(("predictors", problem))
        self.url: str = config["url"]
        self.seconds = config.get("timeoutMs", 3000) / 1000
        self.attempts = 1 + int(config.get("retries", 0))
        self.batch = int(config.get("batchSize", 500))
        self.fallback = float(config.get("fallbackScore", 0.5))
        mapping = config.get("responseMapping", {})
        self.scores_path: str = mapping.get("scoresPath", "scores")
        self.offer_field: str = mapping.get("offerIdField", "offerId")
        self.score_field: str = mapping.get("scoreField", "score")

    def score(self, columns: Columns, rows: int) -> Scores:
        """Not for columns: it scores offers. Raises Rejected."""
        raise Rejected(
            ("modelType", "an external endpoint scores offers, so it is asked by runs only")
        )

    def kind_fault(self, field: str, kind: Kind) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One score of an answer."""

    key: str | None
    offer_id: str
    score: float


def endpoint_columns(
    model: Endpoint,
    frame: pl.DataFrame,
    keys: pl.Series,
    offers: Sequence[OfferFacts],
    allowed_hosts: Collection[str] = (),
) -> tuple[NDArray[np.float64], int]:
    """Ask for the scores of all customers; returns them, shape (rows, offers), and how many
    customers miss at least one and have the fallback there.

    `frame` has the customers' columns by name, `keys` their keys as text. What fails is never an
    error of the run: it is counted, and after three failures in a row the rest is not asked.
    """
    scores = np.full((len(frame), len(offers)), np.nan)
    payload = _customers(model, frame, keys)
    described = [_described(offer) for offer in offers]
    in_a_row = 0
    for start in range(0, len(frame) if offers else 0, model.batch):
        if in_a_row == PATIENCE:
            break
        part = keys.slice(start, model.batch)
        body = _body(model, payload.slice(start, model.batch), described)
        try:
            answers = list(_ask(model, body, allowed_hosts))
        except (outgoing.Refused, outgoing.Unanswered, ValueError) as error:
            in_a_row += 1
            logger.warning("the model %s could not be asked: %s", model.name, error)
            continue
        in_a_row = 0
        _place(answers, part, offers, scores[start : start + len(part)])
    unanswered = np.isnan(scores)
    scores[unanswered] = model.fallback
    return scores, int(unanswered.any(axis=1).sum())


def _customers(model: Endpoint, frame: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """Key and attributes of each customer; what JSON has no number for is null."""
    attributes = []
    for field in model.fields:
        column = frame.get_column(field_ref(field).attribute).alias(field)
        if column.dtype.is_float():
            column = column.to_frame().select(
                pl.when(pl.nth(0).is_finite()).then(pl.nth(0)).alias(field)
            )[field]
        attributes.append(column)
    customers = keys.cast(pl.String).rename("key").to_frame()
    if not attributes:
        return customers
    inside = pl.DataFrame(attributes).to_struct("attributes")
    return customers.with_columns(inside)


def _body(model: Endpoint, customers: pl.DataFrame, offers: list[dict[str, Any]]) -> bytes:
    head = json.dumps({"model": model.name, "offers": offers}, ensure_ascii=False)
    # The customers are written as JSON by the column engine.
    return f'{head[:-1]},"customers":{customers.write_json()}}}'.encode()


def _described(offer: OfferFacts) -> dict[str, Any]:
    return {
        "offerId": ids.encode("Offer", offer.key),
        "name": offer.name,
        "category": offer.category_name or None,
        "subCategory": offer.sub_category_name or None,
        "productType": offer.product_type or None,
        "priority": offer.priority,
        "businessValue": offer.business_value,
    }


def _ask(model: Endpoint, body: bytes, allowed_hosts: Collection[str]) -> Iterator[Answer]:
    """The scores of one batch. Raises ValueError for an answer that cannot be read."""
    text = outgoing.post(
        model.url,
        body,
        timeout=model.seconds,
        allowed=allowed_hosts,
        attempts=model.attempts,
    )
    try:
        found: Any = json.loads(text)
    except RecursionError as error:
        raise ValueError("the answer is nested too deeply") from error
    for name in model.scores_path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, list):
        raise ValueError(f"the answer has no list at {model.scores_path}")
    for item in found:
        if isinstance(item, Mapping) and is_number(item.get(model.score_field)):
            key, offer_id = item.get("key"), item.get(model.offer_field)
            known = None if key is None else str(key)
            yield Answer(known, str(offer_id), float(item[model.score_field]))


def _place(
    answers: Iterable[Answer],
    keys: pl.Series,
    offers: Sequence[OfferFacts],
    scores: NDArray[np.float64],
) -> None:
    """Put the answers where they belong; one without a key is of the only customer asked about."""
    rows = {key: row for row, key in enumerate(keys.cast(pl.String))}
    columns = {ids.encode("Offer", offer.key): column for column, offer in enumerate(offers)}
    for answer in answers:
        row = 0 if answer.key is None and len(rows) == 1 else rows.get(answer.key or "")
        column = columns.get(answer.offer_id)
        if row is not None and column is not None:
            scores[row, column] = answer.score
