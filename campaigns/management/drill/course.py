"""The drill from its first process to its last check: in which order things break."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from django.core.management import call_command

from campaigns.management.drill import checks, clock, files, replay, retake
from campaigns.management.drill.bank import Bank, begin_schedule, build, end_schedule
from campaigns.management.drill.checks import Finding
from campaigns.management.drill.faults import FLUSH, Strikes
from campaigns.management.drill.load import Answers, Callers, CustomersChanging
from campaigns.management.drill.patience import NotInTime, patiently, wait_until
from campaigns.management.drill.replay import Outcome
from campaigns.management.drill.retake import Retaken
from campaigns.management.drill.sandbox import Sandbox
from campaigns.management.drill.supervisor import Supervisor, site
from campaigns.models import Campaign, CampaignRun

SCENES = ("kills", "flush", "retake", "clock")
#: Seconds within which the site is up, and every run has ended after the last fault.
UP_SECONDS, END_SECONDS = 300.0, 900.0
FLUSHES = 5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the drill is to do."""

    kills: int
    retakes: int
    customers: int
    seed: int
    lease: int
    workers: int
    runs: int
    chunk_rows: int
    scenes: Sequence[str] = SCENES


@dataclass(slots=True)
class Result:
    #: (fault, times, runs that were in work at all those times together)
    faults: list[tuple[str, int, int]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    retaken: list[Retaken] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        return [fault for finding in self.findings for fault in finding.broken]


@dataclass(slots=True)
class Course:
    sandbox: Sandbox
    wanted: Wanted
    say: Say
    result: Result = field(default_factory=Result)
    _calm: dict[int, Outcome] = field(default_factory=dict)

    def run(self) -> Result:
        self.sandbox.start_database()
        self.sandbox.check()
        call_command("migrate", verbosity=0)
        self.say(f"Making two tables of {self.wanted.customers:,} customers …")
        bank = build(self.sandbox.folder, self.wanted.customers)
        supervisor = site(self.sandbox, self.wanted.workers)
        try:
            if {*self.wanted.scenes} != {"clock"}:
                self._break_things(bank, supervisor)
        except NotInTime as error:
            self.result.findings.append(Finding("all in time", 1, [str(error)]))
        finally:
            supervisor.stop()
        self._check(bank)
        if "clock" in self.wanted.scenes:
            self._step_clock(bank)
        return self.result

    def _break_things(self, bank: Bank, supervisor: Supervisor) -> None:
        wanted = self.wanted
        lease = {"KAIREON_LEASE_SECONDS": str(wanted.lease)}
        supervisor.start(**lease, KAIREON_CHUNK_ROWS=str(wanted.chunk_rows))
        self._run_calmly(bank)
        changing = CustomersChanging(bank.table, wanted.customers, str(wanted.seed))
        with changing:
            self._strike(bank, supervisor)
            if "retake" in wanted.scenes:
                supervisor.stop()
                supervisor.start()
                self._retake(bank, supervisor)
        self.result.figures["customers changed, lost or won"] = 3 * changing.changes

    def _callers(self, bank: Bank, scene: str) -> Callers:
        campaigns = bank.calm + bank.changing
        seed = f"{self.wanted.seed} {scene}"
        return Callers(self.sandbox.web_address, bank, campaigns, seed, self.result.answers)

    def _run_calmly(self, bank: Bank) -> None:
        """Run each campaign of the calm table once before anything breaks."""
        self.say("Running each campaign once with nothing in its way …")
        callers = self._callers(bank, "calm")
        asked: list[int] = []

        def answered(campaign: Campaign) -> bool:
            key = f"calm {campaign.pk}"
            run_key = callers.ask_once(campaign, key)
            if run_key is not None:
                self.result.answers.runs[key] = run_key
                asked.append(run_key)
            return run_key is not None

        for campaign in [*bank.calm, bank.scheduled[0]]:
            wait_until(partial(answered, campaign), UP_SECONDS, "the web server answers")
        self._end()
        runs = list(CampaignRun.unscoped.select_related("campaign").filter(pk__in=asked))
        self.result.findings.append(files.cleared(runs))
        self._calm = {run.campaign_id: replay.outcome(run) for run in runs}

    def _end(self) -> None:
        unfinished = CampaignRun.unscoped.filter(status__in=CampaignRun.UNFINISHED)
        wait_until(lambda: not unfinished.exists(), END_SECONDS, "every run has ended")

    def _strike(self, bank: Bank, supervisor: Supervisor) -> None:
        wanted = self.wanted
        dice = Random(f"{wanted.seed} faults")  # noqa: S311 - to be repeatable
        strikes = Strikes(supervisor, dice, self.say)
        callers = self._callers(bank, "faults")
        patiently(partial(begin_schedule, bank.scheduled))
        callers.start(wanted.runs)
        try:
            if "kills" in wanted.scenes:
                self.say(f"Killing {wanted.kills} processes while {wanted.runs} runs go on …")
                strikes.kill(wanted.kills)
            if "flush" in wanted.scenes:
                self.say(f"Flushing Redis {FLUSHES} times in mid-run …")
                strikes.flush(strikes.done[FLUSH] + FLUSHES)
        finally:
            callers.stop()
            self.result.faults += [
                (name, times, strikes.hit[name]) for name, times in strikes.done.items()
            ]
        patiently(partial(end_schedule, bank.scheduled))
        self.say("Waiting for the last runs to end …")
        self._end()

    def _retake(self, bank: Bank, supervisor: Supervisor) -> None:
        """Kill workers that have a chunk, under the settings that are shipped."""
        times = self.wanted.retakes
        self.say(f"Killing a worker with a chunk {times} times, with the shipped settings …")
        dice = Random(f"{self.wanted.seed} retake")  # noqa: S311 - to be repeatable
        callers = self._callers(bank, "retake")
        callers.start(self.wanted.runs)
        try:
            for one in retake.retakes(supervisor, times, dice):
                self.say(f"  retaken after {one.seconds:.1f} s")
                self.result.retaken.append(one)
        finally:
            callers.stop()
        self._end()
        self.result.findings.append(retake.finding(self.result.retaken))

    def _check(self, bank: Bank) -> None:
        self.say("Checking …")
        every = CampaignRun.unscoped.select_related("campaign", "tenant").defer("spec")
        runs = list(every.filter(tenant=bank.tenant).order_by("pk"))
        scratch = [path for run in runs for path in files.left_over(run)]
        self._note(runs, scratch_files=len(scratch))
        self.result.findings.append(checks.answered_once(runs, self.result.answers.runs))
        self.result.findings.append(
            Finding(
                "callers get one and the same answer",
                sum(self.result.answers.statuses.values()),
                self.result.answers.faults,
            )
        )
        self.result.findings += checks.check(runs)
        ended = [run for run in runs if run.status == CampaignRun.Status.COMPLETED]
        self.result.findings += files.check(ended)
        self.say(f"Comparing {len(ended)} runs with undisturbed ones …")
        calm = [run for run in ended if run.campaign_id in self._calm]
        others = [run for run in ended if run.campaign_id not in self._calm]
        self.result.findings += [
            replay.compare_with_calm(calm, self._calm),
            replay.compare_with_replay(others),
        ]

    def _note(self, runs: list[CampaignRun], scratch_files: int) -> None:
        answers = self.result.answers
        self.result.figures |= {
            "runs": len(runs),
            "runs by schedule": sum(run.scheduled_for is not None for run in runs),
            "customers decided on": sum(run.audience_count or 0 for run in runs),
            "times a run's step was claimed": sum(run.fencing_token for run in runs),
            "times a chunk was taken": sum(
                chunk for run in runs for chunk in run.chunks.values_list("attempts", flat=True)
            ),
            "most often one chunk was taken": max(
                (n for run in runs for n in run.chunks.values_list("attempts", flat=True)),
                default=0,
            ),
            "scratch files of lost attempts": scratch_files,
            "requests without an answer": answers.statuses[0],
            "answers of 5xx": sum(n for status, n in answers.statuses.items() if status >= 500),
            "slowest accepted request, s": round(answers.slowest, 2),
        }

    def _step_clock(self, bank: Bank) -> None:
        self.say("Stepping the clock over DST …")
        dice = Random(f"{self.wanted.seed} clock")  # noqa: S311 - to be repeatable
        changes = [change for zone in clock.ZONES for change in clock.changes(zone)]
        self.result.findings.append(clock.step_over(bank.calm[0], changes, dice))
        self.result.faults.append(("clock stepped over a change of DST", len(changes), 0))
