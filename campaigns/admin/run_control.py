"""What can be done to a run from its page, and when: each asks first, then calls a service."""

from collections.abc import Callable
from dataclasses import dataclass

from campaigns.models import CampaignRun, RunChunk
from campaigns.services.cancellation import cancel_run
from campaigns.services.pausing import pause_run, resume_run
from campaigns.services.retrying import retry_failed_chunks

Status = CampaignRun.Status


@dataclass(frozen=True, slots=True)
class Control:
    #: Its word in the address, and on the button.
    name: str
    button: str
    question: str
    #: What is said when it is done.
    done: str
    act: Callable[[CampaignRun], object]
    applies: Callable[[CampaignRun], bool]


def has_failed_chunks(run: CampaignRun) -> bool:
    if run.status != Status.COMPLETED_WITH_ERRORS:
        return False
    return RunChunk.objects.filter(run=run, status=RunChunk.Status.DEAD).exists()


CONTROLS = (
    Control(
        "pause",
        "Pause",
        "Pause the run? What its workers have begun is ended, and no more until it is resumed.",
        "is paused",
        pause_run,
        lambda run: run.status in (Status.PENDING, Status.RUNNING),
    ),
    Control(
        "resume",
        "Resume",
        "Have the run go on where it was?",
        "goes on",
        resume_run,
        lambda run: run.status == Status.PAUSED,
    ),
    Control(
        "cancel",
        "Cancel",
        "Cancel the run? What it has decided so far is dropped. A retry of failed parts is given"
        " up, and the run is again as it was.",
        "is cancelled as soon as its workers have stopped",
        cancel_run,
        lambda run: run.status in (Status.PENDING, Status.RUNNING, Status.PAUSED),
    ),
    Control(
        "retry",
        "Retry failed parts",
        "Decide again for the customers of the failed parts? What the run has delivered stays,"
        " and theirs is added.",
        "tries its failed parts again",
        retry_failed_chunks,
        has_failed_chunks,
    ),
)


def controls_of(run: CampaignRun) -> list[Control]:
    return [control for control in CONTROLS if control.applies(run)]
