"""Pause, resume and cancel in every phase: they take effect at the next boundary."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings

from campaigns.models import CampaignRun, Contact, RunFile
from campaigns.services.cancellation import cancel_run
from campaigns.services.deletion import delete_campaign
from campaigns.services.errors import Conflict
from campaigns.services.pausing import pause_run, resume_run
from executor import ahead, queue, runner
from executor.progress import Lease
from tests import factories
from tests import world as worlds
from tests.failing import TO_DO, advance_to, execute_all, outcome, tables_of
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

CAPS: dict[str, object] = {"max_per_offer": 700}
PHASES = ["freeze", "decide", "allocate", "write", "finish"]


@pytest.fixture(autouse=True)
def five_chunks(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    settings.KAIREON_INLINE_FALLBACK = False
    monkeypatch.setattr(ahead, "WAITING", 0)


@pytest.fixture
def world() -> World:
    return worlds.build(5000, k=2)


def interrupt(
    run: CampaignRun, phase: str, act: Callable[[CampaignRun], None], monkeypatch: Any
) -> None:
    """Have somebody act while a worker does the step, or the second chunk, of the phase."""
    steps = runner.CHUNK_STEPS if phase in runner.CHUNK_STEPS else runner.STEPS
    name = "claim" if phase == "freeze" else phase
    real, times = steps[name], iter(range(100))

    def step(*args: Any) -> None:
        if next(times) == (1 if steps is runner.CHUNK_STEPS else 0):
            act(run)
            if isinstance(args[0], Lease):
                args[0].told(CampaignRun.unscoped.get(pk=run.pk).status)  # the next heartbeat
        real(*args)

    monkeypatch.setitem(steps, name, step)


@pytest.mark.parametrize("phase", PHASES)
def test_a_paused_run_stops_at_the_boundary_and_goes_on_as_if_nothing_was(
    world: World, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, run = world.run(**CAPS), world.run(**CAPS)
    execute_all(calm)
    interrupt(run, phase, pause_run, monkeypatch)
    execute_all(run)
    assert run.status == "paused"
    assert run.lease_until is None
    assert not run.chunks.filter(lease_until__isnull=False).exists()
    if phase in runner.CHUNK_STEPS:  # the chunk in work was ended, and no other taken
        assert (run.phase, run.chunks_left) == (phase, 3)
    assert not runner.execute(run.pk)
    assert not Contact.objects.filter(run_id=run.pk).exists()
    assert not RunFile.objects.of(run.tenant).filter(run=run).exists()
    resume_run(run)
    execute_all(run)
    assert run.status == "completed"
    assert outcome(run) == outcome(calm)
    assert set(run.summary["stages"]) == {"freeze", "decide", "allocate", "write", "finish"}


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_cancelled_run_stops_at_the_boundary_and_leaves_nothing(
    world: World, phase: str, paused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.run(**CAPS)
    interrupt(run, phase, pause_run if paused else cancel_run, monkeypatch)
    execute_all(run)
    if paused:
        assert run.status == "paused"
        cancel_run(run)
        execute_all(run)
    assert run.status == "cancelled"
    assert run.completed_at
    done = run.chunks.exclude(status__in=TO_DO).count()
    # What a chunk in work has made is dropped by a cancel, and kept by a pause.
    assert done == {"write": 1 + paused, "finish": 5}.get(phase, 0)
    assert tables_of(run) == []
    assert not Contact.objects.filter(run_id=run.pk).exists()
    assert not RunFile.objects.of(run.tenant).exists()
    with pytest.raises(Conflict, match="only a paused one"):
        resume_run(run)


def test_a_pending_run_is_paused_resumed_and_cancelled_before_it_begins(world: World) -> None:
    run = world.run()
    pause_run(run)
    pause_run(run)
    run.refresh_from_db()
    assert run.status == "paused"
    assert queue.claimable() == []
    assert not runner.execute(run.pk)
    resume_run(run)
    run.refresh_from_db()
    assert run.status == "pending"
    assert queue.claimable() == [run.pk]
    pause_run(run)
    cancel_run(run)
    run.refresh_from_db()
    assert run.status == "cancelled"
    kinds = ["paused", "resumed", "paused", "cancelled"]
    assert [*run.events.values_list("kind", flat=True)] == kinds


def test_the_time_in_a_pause_is_not_the_runs(world: World) -> None:
    run = world.run()
    advance_to(run, "write")
    pause_run(run)
    resume_run(run)
    began = run.events.get(kind="started").at
    run.events.filter(kind="paused").update(at=began)  # as long a pause as there may be
    execute_all(run)
    assert run.status == "completed"
    elapsed = (run.completed_at - run.started_at).total_seconds()
    pause = (run.events.filter(kind="phase", message="write").last().at - began).total_seconds()
    assert run.summary["durationSeconds"] == pytest.approx(elapsed - pause, abs=0.002)


def test_nothing_of_a_paused_run_is_taken_while_others_are(world: World) -> None:
    run, other = world.run(), world.run()
    advance_to(run, "write")
    advance_to(other, "write")
    pause_run(run)
    assert {one.run_key for one in queue.takeable()} == {other.pk}
    while (worked := runner.step()) is not None:
        assert worked == other.pk
    other.refresh_from_db()
    assert other.status == "completed"
    assert run.chunks.filter(status="written").count() == 0


@pytest.mark.parametrize("status", ["cancelling", "failed", "cancelled"])
def test_only_what_goes_on_can_be_paused(world: World, status: str) -> None:
    run = factories.RunFactory(campaign=world.campaign, status=status, error="x")
    with pytest.raises(Conflict, match=f"The run is {status}; only pending and running ones"):
        pause_run(run)
    with pytest.raises(Conflict, match=f"The run is {status}; only a paused one"):
        resume_run(run)
    run.refresh_from_db()
    assert run.status == status
    assert not run.events.exists()


@pytest.mark.parametrize("phase", ["claim", "write"])
def test_a_campaign_with_a_paused_run_is_deleted_with_force_only(
    world: World, phase: str, storage: Any
) -> None:
    run = world.run()
    advance_to(run, phase)
    pause_run(run)
    with pytest.raises(Conflict, match="is paused: wait for its end"):
        delete_campaign(world.campaign)
    assert CampaignRun.unscoped.get().status == "paused"
    delete_campaign(world.campaign, force=True)
    assert not CampaignRun.unscoped.exists()
    assert tables_of(run) == []
    assert not [*storage.rglob(f"runs/{run.pk}/**/*.parquet")]


def test_a_campaign_is_deleted_with_what_a_retry_has_begun(world: World) -> None:
    run = world.run()
    execute_all(run)
    run.chunks.filter(number=1).update(status="dead")
    CampaignRun.unscoped.filter(pk=run.pk).update(status="running", phase="claim", reopened=1)
    run.chunks.filter(number=1).update(status="frozen", reopened=1)
    advance_to(run, "write")
    assert len(tables_of(run)) == 2
    delete_campaign(world.campaign, force=True)
    assert not CampaignRun.unscoped.exists()
    assert tables_of(run) == []
