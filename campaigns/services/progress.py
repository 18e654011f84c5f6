"""How far a run is, for whoever shows it."""

from dataclasses import dataclass
from datetime import datetime

from campaigns.models import CampaignRun

COMPLETED = (CampaignRun.Status.COMPLETED, CampaignRun.Status.COMPLETED_WITH_ERRORS)
Phase = CampaignRun.Phase
#: The share of a run that is done when a phase begins and when it ends. `customers_done` counts
#: within the phase, so without these the percentage would start again at each.
SHARES = {
    Phase.CLAIM: (0.0, 0.0),
    Phase.FREEZE: (0.0, 0.3),
    Phase.DECIDE: (0.3, 0.6),
    Phase.ALLOCATE: (0.6, 0.7),
    Phase.WRITE: (0.7, 0.95),
    Phase.FINISH: (0.95, 1.0),
    Phase.DONE: (1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Progress:
    #: 0 to 100, one decimal; never falls while a run goes on.
    percent: float
    #: Customers carried through the whole run per second so far; None before the first.
    customers_per_second: float | None
    #: None unless the run is running, or completed (0), and its speed is known.
    eta_seconds: float | None


def measure_progress(run: CampaignRun, now: datetime) -> Progress:
    """Return the progress of `run` at `now`; reads nothing but the row."""
    share = 1.0 if run.status in COMPLETED else share_done(run)
    seconds = ((run.completed_at or now) - run.started_at).total_seconds() if run.started_at else 0
    # Nothing tells how fast a run is that was opened again: most of it was done before. One that
    # is paused is not slow: it stands.
    opened_again = run.reopened and run.status in CampaignRun.UNFINISHED
    paused = run.status == CampaignRun.Status.PAUSED
    if not share or seconds <= 0 or opened_again or paused:
        return Progress(round(100 * share, 1), None, None)
    speed = (run.audience_count or 0) * share / seconds
    stopped = run.status not in (CampaignRun.Status.RUNNING, *COMPLETED)
    eta = None if stopped else round(seconds * (1 - share) / share, 1)
    return Progress(round(100 * share, 1), round(speed, 1) or None, eta)


def share_done(run: CampaignRun) -> float:
    begin, end = SHARES[Phase(run.phase)]
    audience = run.audience_count or 0
    within = min(run.customers_done, audience) / audience if audience else 0.0
    return begin + (end - begin) * within
