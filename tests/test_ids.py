"""Opaque ids: reversible, of one kind, in one form only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaireon import ids


@given(st.sampled_from(sorted(ids.PREFIXES)), st.integers(0, 2**63 - 1))
@settings(derandomize=True)
def test_every_key_comes_back(model: str, key: int) -> None:
    assert ids.decode(model, ids.encode(model, key)) == key


def test_prefixes_are_distinct() -> None:
    assert len(set(ids.PREFIXES.values())) == len(ids.PREFIXES)


def test_golden_values_stay_readable_for_ever() -> None:
    assert ids.encode("Campaign", 1) == "camp_UkLWZg9D"
    assert ids.encode("CampaignRun", 123456789) == ids.encode("Campaign", 123456789).replace(
        "camp_", "crun_"
    )


@pytest.mark.parametrize(
    "public_id",
    [
        pytest.param("seg_UkLWZg9D", id="another kind"),
        pytest.param("UkLWZg9D", id="no prefix"),
        pytest.param("camp_", id="no code"),
        pytest.param("camp_UkLWZg9D ", id="trailing space"),
        pytest.param("CAMP_UkLWZg9D", id="another case"),
        pytest.param("camp_Uk", id="not padded"),
        pytest.param("camp_UkLWZg9é", id="not ascii"),
        pytest.param("camp_\0", id="nul"),
        pytest.param("camp_" + "z" * 5000, id="beyond 64 bits"),
        pytest.param("", id="empty"),
        pytest.param(1, id="integer"),
        pytest.param(None, id="null"),
        pytest.param(["camp_UkLWZg9D"], id="list"),
    ],
)
def test_anything_else_is_no_id(public_id: object) -> None:
    assert ids.decode("Campaign", public_id) is None


def test_only_the_canonical_spelling_is_an_id() -> None:
    several = "camp_" + ids._sqids.encode([1, 2])
    assert ids.decode("Campaign", several) is None
