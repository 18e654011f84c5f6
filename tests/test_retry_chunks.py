"""Chunks that cannot be done are given up without the others; later only they are done again."""

from collections.abc import Callable

import pytest
from django.conf import LazySettings

from campaigns.models import CampaignRun, DeadLetter, RunChunk
from campaigns.services.cancellation import cancel_run
from campaigns.services.errors import Conflict
from campaigns.services.retrying import retry, retry_failed_chunks
from executor import ahead, contacts, manifest, reopening, results, runner
from executor.storage import open_storage
from tests import world as worlds
from tests.failing import (
    advance_to,
    contacts_of,
    corrupt,
    execute_all,
    expire,
    file_of,
    outcome,
    restore,
    results_of,
    tables_of,
)
from tests.world import World

pytestmark = pytest.mark.usefixtures("clean_relations")

CAPS: dict[str, dict[str, object]] = {
    "uncapped": {},
    "score": {"max_per_offer": 700, "allocation": "score"},
    "first come": {"max_per_offer": 700, "allocation": "first_come"},
}


@pytest.fixture(autouse=True)
def five_chunks(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.KAIREON_CHUNK_ROWS = 1024
    settings.KAIREON_INLINE_FALLBACK = False
    monkeypatch.setattr(ahead, "WAITING", 0)  # each chunk is read again after the freeze


@pytest.fixture
def world() -> World:
    return worlds.build(5000, k=2)


def adds_up(run: CampaignRun) -> bool:
    """Every customer of the audience ends in one place of the funnel."""
    removed = sum(line["removedCustomers"] for line in run.summary["funnel"])
    return bool(removed + run.summary["customersWithRecommendations"] == run.summary["audience"])


def given_up(world: World, *numbers: int, phase: str = "write", **caps: object) -> CampaignRun:
    """A run that has ended without these chunks, which could not be read in the phase."""
    run = world.run(**caps)
    advance_to(run, phase)
    run.kept = corrupt(run, *numbers)
    execute_all(run)
    assert (run.status, run.phase) == ("completed_with_errors", "done")
    assert adds_up(run)
    return run


def letters(run: CampaignRun) -> list[tuple[int | None, int]]:
    found = DeadLetter.objects.of(run.tenant_id).filter(run=run).order_by("chunk")
    return [*found.values_list("chunk", "attempts")]


def test_a_poison_chunk_is_tried_again_ever_later_and_then_given_up(world: World) -> None:
    calm, run = world.run(), world.run()
    execute_all(calm)
    advance_to(run, "write")
    corrupt(run, 2)
    waits = execute_all(run)
    assert [number for number, _ in waits] == [2, 2, 2, 2]
    put_back = run.events.filter(kind="chunk put back").order_by("pk")
    seconds = [
        (until - event.at).total_seconds()
        for (_, until), event in zip(waits, put_back, strict=True)
    ]
    assert seconds == pytest.approx([2, 8, 32, 60], abs=1.5)
    letter = DeadLetter.objects.of(run.tenant_id).get()
    assert (letter.topic, letter.run, letter.chunk) == ("campaign_chunks", run, 2)
    assert (letter.customers, letter.attempts) == (1024, 5)
    assert letter.error
    assert "Traceback" in letter.traceback
    assert "read_chunk" in letter.traceback
    assert run.status == "completed_with_errors"
    assert run.error == "1 of 5 chunks with 1024 customers were given up"
    assert [*run.chunks.values_list("status", flat=True)].count("written") == 4
    assert adds_up(run)
    first = run.summary["funnel"][0]
    assert (first["stage"], first["removedCustomers"]) == ("chunks", 1024)
    assert results_of(run) == [row for row in results_of(calm) if row[2] != 2]
    assert len(contacts_of(run)) == file_of(run)[1] == len(results_of(run))


def test_a_chunk_that_is_gone_is_given_up_like_one_that_is_broken(world: World) -> None:
    run = world.run()
    advance_to(run, "write")
    open_storage().delete([run.chunks.get(number=4).input_key])
    execute_all(run)
    assert run.status == "completed_with_errors"
    assert "has expired or was deleted" in DeadLetter.objects.of(run.tenant_id).get().error


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
def test_retry_of_the_failed_chunks_leaves_what_an_undisturbed_run_leaves(
    world: World, caps: dict[str, object]
) -> None:
    calm = world.run(**caps)
    execute_all(calm)
    run = given_up(world, 1, 3, **caps)
    assert [number for number, _ in letters(run)] == [1, 3]
    shown = outcome(run)
    restore(run.kept)
    ended = run.completed_at
    assert retry(run).pk == run.pk
    run.refresh_from_db()
    assert (run.status, run.phase, run.reopened) == ("running", "claim", 1)
    assert letters(run) == []
    assert outcome(run) == shown  # until it has ended
    execute_all(run)
    assert (run.status, run.phase, run.error) == ("completed", "done", "")
    assert run.completed_at > ended
    assert outcome(run) == outcome(calm)
    assert tables_of(run) == [results.table_name(run.pk)]
    assert {*run.chunks.values_list("status", "reopened")} == {("written", 0), ("written", 1)}
    assert set(run.summary["stages"]) == set(calm.summary["stages"])
    with pytest.raises(Conflict, match="is completed"):
        retry_failed_chunks(run)


def test_what_others_have_been_given_meanwhile_counts_with_the_caps(world: World) -> None:
    run = given_up(world, 0, 1, phase="decide", max_per_offer=700, max_total_per_run=1500)
    before = results_of(run)
    assert len(before) == 1500
    restore(run.kept)
    retry(run)
    execute_all(run)
    assert run.status == "completed"
    assert results_of(run) == before  # there was nothing left to win
    assert adds_up(run)
    caps = {(cap["cap"], cap["used"], cap["bound"]) for cap in run.summary["caps"]}
    assert ("maxTotalPerRun", 1500, True) in caps


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
def test_all_chunks_may_be_given_up_and_retried(world: World, caps: dict[str, object]) -> None:
    calm = world.run(**caps)
    execute_all(calm)
    phase = "decide" if caps else "write"
    run = given_up(world, *range(5), phase=phase, **caps)
    assert file_of(run)[1] == len(results_of(run)) == len(contacts_of(run)) == 0
    assert all(cap["used"] == 0 for cap in run.summary["caps"])
    restore(run.kept)
    retry(run)
    execute_all(run)
    assert run.status == "completed"
    assert outcome(run) == outcome(calm)


def test_a_retry_that_fails_again_loses_nothing(world: World) -> None:
    calm = world.run()
    execute_all(calm)
    run = given_up(world, 1, 3)
    before = outcome(run)
    for times in (1, 2):
        retry(run)
        execute_all(run)
        assert (run.status, run.reopened) == ("completed_with_errors", times)
        assert outcome(run) == before
        assert letters(run) == [(1, 5), (3, 5)]
    restore(run.kept)
    retry(run)
    execute_all(run)
    assert (run.status, run.reopened) == ("completed", 3)
    assert outcome(run) == outcome(calm)


def test_only_some_of_the_chunks_may_be_retried(world: World) -> None:
    calm = world.run()
    execute_all(calm)
    run = given_up(world, 1, 3)
    restore(run.kept)
    retry_failed_chunks(run, [3])
    assert letters(run) == [(1, 5)]
    execute_all(run)
    assert run.status == "completed_with_errors"
    assert run.error == "1 of 5 chunks with 1024 customers were given up"
    assert results_of(run) == [row for row in results_of(calm) if row[2] != 1]
    retry(run)
    execute_all(run)
    assert outcome(run) == outcome(calm)


@pytest.mark.parametrize("phase", ["claim", "decide", "allocate", "write", "finish"])
def test_a_retry_that_is_cancelled_leaves_what_was_there(world: World, phase: str) -> None:
    caps = CAPS["score"]
    calm = world.run(**caps)
    execute_all(calm)
    run = given_up(world, 1, 3, **caps)
    before, error, ended = outcome(run), run.error, run.completed_at
    restore(run.kept)
    retry(run)
    advance_to(run, phase)
    cancel_run(run)
    execute_all(run)
    assert (run.status, run.phase) == ("completed_with_errors", "done")
    assert (run.error, run.completed_at) == (error, ended)
    assert outcome(run) == before
    assert [number for number, _ in letters(run)] == [1, 3]
    assert {*run.chunks.filter(number__in=(1, 3)).values_list("status", "part_key")} == {
        ("dead", "")
    }
    assert tables_of(run) == [results.table_name(run.pk)]
    retry(run)
    execute_all(run)
    assert outcome(run) == outcome(calm)


@pytest.mark.parametrize("place", ["claim", "allocate", "finish"])
def test_a_retry_that_fails_as_a_whole_leaves_what_was_there(
    world: World, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = given_up(world, 1, 3, **CAPS["score"])
    before = outcome(run)
    restore(run.kept)
    retry(run)
    with monkeypatch.context() as patched:
        patched.setitem(runner.STEPS, place, lambda *_: 1 / 0)
        execute_all(run)
    assert run.status == "completed_with_errors"
    assert outcome(run) == before
    assert [number for number, _ in letters(run)] == [1, 3]
    letter = DeadLetter.objects.of(run.tenant_id).first()
    assert letter.error == "the retry failed: internal error: division by zero"
    assert "ZeroDivisionError" in letter.traceback
    retry(run)
    execute_all(run)
    assert run.status == "completed"


class Killed(BaseException):
    """The process is gone: nothing behind this is done."""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (contacts, "prepare"),
        (manifest, "enter"),
        (contacts, "add_late"),
        (results, "merge"),
        (contacts, "make_true"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__.rpartition(".")[2],
)
def test_a_worker_lost_in_a_retry_is_replaced(
    world: World, module: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = world.run()
    execute_all(calm)
    run = given_up(world, 1, 3)
    before = outcome(run)
    restore(run.kept)
    retry(run)
    lose_worker(monkeypatch, module, name, lambda: runner.execute(run.pk))
    assert outcome(run) == before
    lease = CampaignRun.unscoped.get(pk=run.pk).lease_until
    assert lease is None or not runner.execute(run.pk)  # it is still the lost worker's
    expire(run)
    execute_all(run)
    assert run.status == "completed"
    assert outcome(run) == outcome(calm)
    assert tables_of(run) == [results.table_name(run.pk)]


@pytest.mark.parametrize("name", ["_scratch", "open_storage"])
def test_a_worker_lost_while_undoing_a_retry_is_replaced(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = given_up(world, 1, 3)
    before = outcome(run)
    retry(run)
    advance_to(run, "write")
    cancel_run(run)
    lose_worker(monkeypatch, reopening, name, lambda: runner.execute(run.pk))
    expire(run)
    execute_all(run)
    assert run.status == "completed_with_errors"
    assert outcome(run) == before
    assert tables_of(run) == [results.table_name(run.pk)]
    assert [number for number, _ in letters(run)] == [1, 3]


def lose_worker(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, work: Callable[[], object]
) -> None:
    """Have the worker end after it has called the function."""
    real = getattr(module, name)

    def last(*args: object, **named: object) -> None:
        real(*args, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, name, last)
        with pytest.raises(Killed):
            work()


def test_only_a_run_that_ended_with_failed_chunks_can_be_opened_again(world: World) -> None:
    run = world.run()
    with pytest.raises(Conflict, match="is pending"):
        retry_failed_chunks(run)
    execute_all(run)
    CampaignRun.unscoped.filter(pk=run.pk).update(status="completed_with_errors", error="no S3")
    before = [*RunChunk.objects.filter(run=run).values()]
    with pytest.raises(Conflict, match="no failed chunks; its error says what went wrong"):
        retry_failed_chunks(run)
    run.refresh_from_db()
    assert (run.status, run.reopened) == ("completed_with_errors", 0)
    assert [*RunChunk.objects.filter(run=run).values()] == before


def test_a_paused_campaign_retries_nothing(world: World) -> None:
    run = given_up(world, 1)
    world.campaign.status = "paused"
    world.campaign.save()
    with pytest.raises(Conflict, match="The campaign is paused"):
        retry_failed_chunks(run)
    run.refresh_from_db()
    assert run.status == "completed_with_errors"
    assert letters(run) == [(1, 5)]
