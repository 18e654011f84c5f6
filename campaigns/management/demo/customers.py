"""Made-up bank customers: seeded, skewed, and correlated as one would expect."""

import numpy as np
import polars as pl
from numpy.random import Generator
from numpy.typing import NDArray

SEED = 20_260_322
FIRST_NAMES = (
    *("Ada", "Amir", "Bea", "Chen", "Dana", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas"),
    *("Kofi", "Lena", "Mateo", "Nadia", "Oscar", "Priya", "Quinn", "Rosa", "Sven", "Tara", "Umar"),
    *("Vera", "Wen", "Ximena", "Yusuf", "Zoë"),
)
REGIONS = ("North", "South", "East", "West", "Islands")

Numbers = NDArray[np.float64]


def make_customers(count: int) -> pl.DataFrame:
    """`count` customers; a larger count begins with the same ids, not the same people."""
    dice = np.random.default_rng(SEED)
    age = np.clip(dice.gamma(9.0, 5.2, count), 18, 95).round()
    tenure = np.minimum(dice.exponential(7.0, count), age - 17).round(1)
    income = np.exp(dice.normal(10.2, 0.55, count) + 0.35 * _hump(age, 48, 22)).round(-2)
    balance = (income * dice.lognormal(-1.6, 1.1, count) * (0.5 + tenure / 20)).round(2)
    score = np.clip(dice.normal(610, 70, count) + 40 * np.log1p(income / 30_000), 300, 850).round()
    digital = _chance(1.8 - 0.045 * (age - 35) + dice.normal(0, 1, count)).round(3)
    owner = dice.random(count) < _chance(0.06 * (age - 38) + 0.5 * np.log1p(income / 40_000))
    card = dice.random(count) < _chance(0.008 * (score - 640))
    frame = {
        "customer_id": [f"HB{number:08d}" for number in range(1, count + 1)],
        "first_name": dice.choice(FIRST_NAMES, count),
        "age": age.astype(np.int64),
        "region": dice.choice(REGIONS, count, p=(0.34, 0.27, 0.2, 0.15, 0.04)),
        "tenure_years": tenure,
        "income": income,
        "balance": balance,
        "credit_score": score.astype(np.int64),
        "home_owner": owner,
        "has_credit_card": card,
        "in_arrears": dice.random(count) < _chance(-0.015 * (score - 420)),
        "digital_engagement": digital,
        "email_opt_in": dice.random(count) < 0.35 + 0.5 * digital,
        "sms_opt_in": dice.random(count) < 0.25 + 0.45 * digital,
        "mail_opt_in": dice.random(count) < 0.9 - 0.3 * digital,
    }
    return pl.DataFrame(frame | _propensities(dice, frame)).with_columns(
        # Nobody knows how a new customer's savings will behave.
        propensity_savings=pl.when(pl.col("tenure_years") < 0.5)
        .then(None)
        .otherwise(pl.col("propensity_savings"))
    )


def _propensities(dice: Generator, customer: dict[str, NDArray[np.generic]]) -> dict[str, Numbers]:
    """Chance of taking a product of each family, from what the bank knows plus noise."""
    age = np.asarray(customer["age"], dtype=np.float64)
    wealth = np.log1p(np.asarray(customer["balance"], dtype=np.float64))
    income = np.log(np.asarray(customer["income"], dtype=np.float64))
    owner = np.asarray(customer["home_owner"], dtype=np.float64)
    card = np.asarray(customer["has_credit_card"], dtype=np.float64)
    logits = {
        "cards": -2.6 + 0.9 * (income - 10.2) + 0.6 * _hump(age, 34, 15) - 0.8 * card,
        "lending": -2.9 + 1.2 * _hump(age, 41, 14) + 0.5 * owner - 0.12 * (wealth - 8),
        "savings": -3.0 + 0.35 * (wealth - 7) + 0.012 * (age - 40),
        "protection": -2.8 + 1.1 * owner + 0.5 * _hump(age, 50, 18),
    }
    return {
        f"propensity_{family}": np.clip(
            _chance(logit + dice.normal(0, 0.5, len(age))), 0.001, 0.999
        ).round(5)
        for family, logit in logits.items()
    }


def _chance(logit: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-logit))


def _hump(values: Numbers, middle: float, width: float) -> Numbers:
    return np.exp(-(((values - middle) / width) ** 2))
