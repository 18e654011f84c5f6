"""External endpoints: what they are sent, how answers are read, and what stands in for them."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from executor.errors import Rejected
from executor.flow.catalog import ModelFacts, OfferFacts
from executor.models.compile import compile_model
from executor.models.endpoint import Endpoint, endpoint_columns
from kaireon import ids
from tests.json_server import Answer, JsonServer, json_server

OFFERS = (OfferFacts(1, "Gold Card", category_name="Cards"), OfferFacts(2, "Car Loan"))
GOLD, LOAN = (ids.encode("Offer", offer.key) for offer in OFFERS)
ALLOWED = ["127.0.0.1"]
FRAME = pl.DataFrame(
    {"age": [30, None, 50], "balance": [1.5, math.nan, math.inf], "name": ['a"b', None, "é"]}
)
KEYS = pl.Series(["c1", "c2", "c3"])


def model(server: JsonServer, *fields: str, **config: Any) -> Endpoint:
    predictors = tuple({"field": field} for field in fields)
    config = {"url": f"{server.url}/score", **config}
    facts = ModelFacts(1, "remote", "external_endpoint", config, predictors)
    compiled = compile_model(facts)
    assert isinstance(compiled, Endpoint)
    return compiled


def everybody(score: float = 0.25) -> Answer:
    """Scores every customer and offer."""
    return lambda body: {
        "scores": [
            {"key": customer["key"], "offerId": offer["offerId"], "score": score}
            for customer in body["customers"]
            for offer in body["offers"]
        ]
    }


def test_what_is_sent_and_what_comes_back() -> None:
    with json_server(everybody()) as server:
        compiled = model(server, "age", "customer.balance", "name", batchSize=2)
        scores, failures = endpoint_columns(compiled, FRAME, KEYS, OFFERS, ALLOWED)
    assert (scores.tolist(), failures) == ([[0.25, 0.25]] * 3, 0)
    first, second = (request.body for request in server.requests)
    assert first["model"] == "remote"
    assert first["customers"] == [
        {"key": "c1", "attributes": {"age": 30, "customer.balance": 1.5, "name": 'a"b'}},
        {"key": "c2", "attributes": {"age": None, "customer.balance": None, "name": None}},
    ]
    assert second["customers"] == [
        {"key": "c3", "attributes": {"age": 50, "customer.balance": None, "name": "é"}}
    ]
    assert first["offers"] == second["offers"]
    assert first["offers"][0] == {
        "offerId": GOLD,
        "name": "Gold Card",
        "category": "Cards",
        "subCategory": None,
        "productType": None,
        "priority": 50,
        "businessValue": 50.0,
    }


def test_without_predictors_only_keys_are_sent() -> None:
    with json_server(everybody(7)) as server:
        scores, _ = endpoint_columns(model(server), FRAME, KEYS, OFFERS, ALLOWED)
    assert server.requests[0].body["customers"] == [{"key": key} for key in KEYS]
    assert scores.tolist() == [[7, 7]] * 3  # not cut off


def test_mapping_of_the_answer() -> None:
    def answer(body: Any) -> Any:
        (customer,) = body["customers"]
        value = float(customer["key"][1]) / 10
        return {"data": {"list": [{"id": LOAN, "p": value}, {"id": GOLD, "p": 1 - value}]}}

    mapping = {"scoresPath": "data.list", "offerIdField": "id", "scoreField": "p"}
    with json_server(answer) as server:
        compiled = model(server, responseMapping=mapping, batchSize=1)
        scores, failures = endpoint_columns(compiled, FRAME, KEYS, OFFERS, ALLOWED)
    assert scores == pytest.approx(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]))
    assert failures == 0


def test_what_is_not_answered_has_the_fallback() -> None:
    odd = [
        {"key": "c1", "offerId": GOLD, "score": 0.9},
        {"key": "c1", "offerId": LOAN, "score": "0.9"},
        {"key": "c2", "offerId": GOLD, "score": 0.8},
        {"key": "c2", "offerId": LOAN, "score": 0.7},
        {"key": "c3", "offerId": GOLD, "score": None},
        {"key": "c9", "offerId": GOLD, "score": 0.1},
        {"key": "c3", "offerId": "off_other", "score": 0.1},
        {"offerId": GOLD, "score": 0.1},
        {"key": "c3", "offerId": LOAN, "score": True},
        7,
        None,
    ]
    with json_server(lambda _: {"scores": odd}) as server:
        compiled = model(server, fallbackScore=0.125)
        scores, failures = endpoint_columns(compiled, FRAME, KEYS, OFFERS, ALLOWED)
    assert scores.tolist() == [[0.9, 0.125], [0.8, 0.7], [0.125, 0.125]]
    assert failures == 2


@pytest.mark.parametrize(
    "answer", [b"<html>", b"[]", b'{"scores": {}}', b"[" * 100_000, b'{"scores": NaN}', b"\xff"]
)
def test_answers_that_cannot_be_read(answer: bytes) -> None:
    with json_server(lambda _: answer) as server:
        scores, failures = endpoint_columns(model(server), FRAME, KEYS, OFFERS, ALLOWED)
    assert (scores.tolist(), failures) == ([[0.5, 0.5]] * 3, 3)


def test_endpoint_that_fails_is_left_alone() -> None:
    with json_server(lambda _: {}, status=500) as server:
        compiled = model(server, batchSize=1)
        frame, keys = pl.concat([FRAME, FRAME]), pl.Series([f"c{n}" for n in range(6)])
        scores, failures = endpoint_columns(compiled, frame, keys, OFFERS, ALLOWED)
    assert (failures, len(server.requests)) == (6, 3)
    assert scores.tolist() == [[0.5, 0.5]] * 6


def test_one_more_try() -> None:
    with json_server(lambda _: {}, status=503) as server:
        endpoint_columns(model(server, retries=1), FRAME, KEYS, OFFERS, ALLOWED)
    assert len(server.requests) == 2


def test_private_addresses_are_not_asked() -> None:
    with json_server(everybody()) as server:
        scores, failures = endpoint_columns(model(server), FRAME, KEYS, OFFERS)
    assert (scores.tolist(), failures, server.requests) == ([[0.5, 0.5]] * 3, 3, [])


def test_without_customers_or_offers_nothing_is_asked() -> None:
    with json_server(everybody()) as server:
        compiled = model(server)
        assert endpoint_columns(compiled, FRAME.clear(), KEYS.clear(), OFFERS, ALLOWED)[1] == 0
        scores, failures = endpoint_columns(compiled, FRAME, KEYS, (), ALLOWED)
    assert (scores.shape, failures, server.requests) == ((3, 0), 0, [])


def test_only_customer_columns_are_sent() -> None:
    with json_server(everybody()) as server:
        with pytest.raises(Rejected, match="is no column of the customers"):
            model(server, "offer.priority")
        with pytest.raises(Rejected, match="scores offers"):
            model(server, "age").score({"age": 1}, 1)
        assert [field for field, _ in model(server, "age").missing({})] == ["age"]
