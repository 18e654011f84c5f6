"""A chunk is one worker's at a time, written once, and the last one opens the next phase."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from campaigns.models import CampaignRun, Contact, Recommendation, RunChunk, RunFile
from executor import chunks, job, manifest, runner, stages
from executor.heartbeat import LeaseLost
from executor.progress import claim
from executor.storage import open_storage
from tests import world as worlds
from tests.processes import wait_until
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

CUSTOMERS, CHUNK = 5_000, 1024


@pytest.fixture
def world(settings) -> World:
    settings.KAIREON_CHUNK_ROWS = CHUNK
    return worlds.build(CUSTOMERS)


def frozen(run: CampaignRun) -> CampaignRun:
    """The run with its customers frozen, and its chunks still to be done."""
    assert runner.advance(run.pk)
    run.refresh_from_db()
    return run


def expire(chunk: chunks.TakenChunk) -> None:
    """As if its worker had not been heard of for the time of a lease."""
    RunChunk.objects.filter(pk=chunk.key).update(lease_until=Now() - timedelta(seconds=1))


def take(run: CampaignRun) -> chunks.TakenChunk:
    taken = chunks.take(run.pk)
    assert taken is not None
    return taken


def recommended(run: CampaignRun) -> int:
    """Rows in the run's own table, whether or not they are visible yet."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM campaigns_recommendation_r{run.pk}")
        return cursor.fetchone()[0]


def test_no_chunk_is_taken_twice(world: World) -> None:
    run = frozen(world.run())
    barrier = threading.Barrier(4)

    def member() -> list[int]:
        barrier.wait()
        taken = []
        while chunk := chunks.take(run.pk):
            taken.append(chunk.number)
        connection.close()
        return taken

    with ThreadPoolExecutor(4) as pool:
        numbers = [n for future in [pool.submit(member) for _ in range(4)] for n in future.result()]
    assert sorted(numbers) == list(range(5))


def test_a_chunk_whose_lease_has_run_out_is_taken_by_another(world: World) -> None:
    run = frozen(world.run())
    first = take(run)
    assert take(run).number != first.number
    expire(first)
    again = take(run)
    assert (again.number, again.token, again.attempts) == (first.number, first.token + 1, 2)


def test_a_zombie_writes_nothing(world: World) -> None:
    run = frozen(world.run())
    zombie = take(run)
    expire(zombie)
    heir = take(run)
    stages.write_chunk(job.load(run.pk), heir)
    before = recommended(run)
    with pytest.raises(LeaseLost):
        stages.write_chunk(job.load(run.pk), zombie)
    assert recommended(run) == before
    row = RunChunk.objects.get(pk=heir.key)
    assert (row.status, row.fencing_token) == ("written", heir.token)
    assert row.part_key == job.load(run.pk).key(heir.folder, "part", heir.number)
    run.refresh_from_db()
    assert run.chunks_left == 4


def test_a_zombie_that_writes_first_leaves_its_heir_nothing_to_do(world: World) -> None:
    """It was only slow: what it commits under its own token, before anybody took over, holds."""
    run = frozen(world.run())
    slow = take(run)
    expire(slow)
    stages.write_chunk(job.load(run.pk), slow)
    assert RunChunk.objects.get(pk=slow.key).status == "written"
    assert slow.number not in {chunk.number for chunk in iter(lambda: chunks.take(run.pk), None)}


def test_the_step_of_a_run_has_one_owner_too(world: World) -> None:
    run = world.run()
    zombie = claim(run.pk)
    assert zombie
    assert claim(run.pk) is None
    CampaignRun.unscoped.filter(pk=run.pk).update(lease_until=Now() - timedelta(seconds=1))
    heir = claim(run.pk)
    assert heir
    assert heir.token == zombie.token + 1
    with pytest.raises(LeaseLost):
        manifest.commit(zombie, [], {}, manifest.Phase("finish"))
    assert not RunChunk.objects.filter(run=run).exists()
    heir.release()
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed"


def test_the_last_chunk_opens_the_next_phase_once(world: World) -> None:
    run = frozen(world.run(max_per_offer=500))
    barrier = threading.Barrier(3)

    def member() -> None:
        barrier.wait()
        while runner.work(run.pk) is not None:
            pass
        connection.close()

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(member) for _ in range(3)]:
            future.result()
    run.refresh_from_db()
    assert (run.phase, run.chunks_left) == ("allocate", 0)
    opened = run.events.filter(kind="phase", message="allocate")
    assert opened.count() == 1
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed"
    assert run.summary["totalRecommendations"] == recommended(run)


def test_a_heartbeat_keeps_the_lease(world: World, settings) -> None:
    settings.KAIREON_LEASE_SECONDS = 1
    run = frozen(world.run())
    chunk = take(run)
    with chunk.kept():
        until = RunChunk.objects.get(pk=chunk.key).lease_until
        wait_until(lambda: RunChunk.objects.get(pk=chunk.key).lease_until > until)
    chunk.release()
    assert take(run).number == chunk.number


def test_urgent_runs_come_first_and_equals_take_turns(world: World) -> None:
    big, other, urgent = (world.run() for _ in range(3))
    CampaignRun.unscoped.filter(pk=urgent.pk).update(priority=90)
    for run in (big, other, urgent):
        frozen(run)
    order = [chunk.run_key for chunk in iter(chunks.take, None)]
    assert order == [urgent.pk] * 5 + [big.pk, other.pk] * 5


def test_a_chunk_of_a_run_that_is_cancelled_meanwhile_is_not_written(world: World) -> None:
    run = frozen(world.run())
    chunk = take(run)
    CampaignRun.unscoped.filter(pk=run.pk).update(status="cancelling")
    with pytest.raises(LeaseLost):
        stages.write_chunk(job.load(run.pk), chunk)
    assert recommended(run) == 0
    assert RunChunk.objects.get(pk=chunk.key).status == chunk.status
    chunk.release()
    assert runner.advance(run.pk)
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_contacts_are_true_only_once_the_run_has_ended(world: World) -> None:
    run = frozen(world.run())
    while runner.work(run.pk) is not None:
        assert not Contact.objects.filter(run_id=run.pk).exists()
        assert not Recommendation.objects.filter(run_id=run.pk).exists()
    assert runner.advance(run.pk)
    rows = RunFile.objects.of(world.tenant).get(run=run).row_count
    assert rows > 0
    for model in (Contact, Recommendation):
        assert model.objects.filter(run_id=run.pk).count() == rows


def test_what_is_lost_with_its_worker_comes_to_the_same_bytes(world: World) -> None:
    """Every chunk is taken by a worker that dies before it writes, and again by one that lives."""
    calm, lossy = world.run(), world.run()
    assert runner.execute(calm.pk)
    frozen(lossy)
    for dead in iter(lambda: chunks.take(lossy.pk), None):
        open_storage().put(job.load(lossy.pk).key(dead.folder, "part", dead.number), b"half")
    RunChunk.objects.filter(run=lossy).update(lease_until=Now() - timedelta(seconds=1))
    assert runner.execute(lossy.pk)
    files = RunFile.objects.of(world.tenant)
    assert files.get(run=lossy).sha256 == files.get(run=calm).sha256
    taken = RunChunk.objects.filter(run=lossy).values_list("attempts", flat=True)
    assert list(taken) == [2] * 5


def test_a_chunk_over_which_workers_die_again_and_again_is_given_up(world: World) -> None:
    run = frozen(world.run())
    chunk = take(run)
    RunChunk.objects.filter(pk=chunk.key).update(
        attempts=chunks.MAX_ATTEMPTS, lease_until=F("lease_until") - timedelta(minutes=1)
    )
    assert runner.execute(run.pk)
    run.refresh_from_db()
    assert run.status == "completed_with_errors"
    assert run.error == "1 of 5 chunks with 1024 customers were given up"
    letter = run.dead_letters.get()
    assert (letter.chunk, letter.customers) == (0, 1024)
    assert letter.error == f"the worker was lost {chunks.MAX_ATTEMPTS} times over it"
    assert run.summary["funnel"][0]["removedCustomers"] == 1024
    assert run.completed_at <= timezone.now()
