"""Why a customer got an offer from a run, or did not."""

from typing import Any

from campaigns.models import CampaignRun
from campaigns.services.errors import Conflict, Gone, Missing
from executor import explain


def explain_customer(run: CampaignRun, customer_key: str) -> dict[str, Any]:
    """The explanation as it is shown.

    Raises Conflict before the run has frozen its customers, Missing for one who is not among them,
    and Gone when they are not stored any more.
    """
    try:
        return explain.explain(run, customer_key)
    except explain.NotFrozen as error:
        ended = run.completed_at is not None
        when = "ended before it had" if ended else "has not"
        raise Conflict(f"The run {when} frozen its customers; there is nothing to explain.") from (
            error
        )
    except explain.UnknownCustomer as error:
        raise Missing("There is no customer with this id in the audience of the run.") from error
    except explain.Expired as error:
        raise Gone(
            "The inputs of the run have expired: its frozen customers are not stored any more."
        ) from error
