"""Volume caps: both strategies against an item-by-item reference, on random small problems."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.allocation import (
    BLOCK_ROWS,
    NONE,
    Candidates,
    CapReport,
    Caps,
    CapUse,
    Fates,
    FirstCome,
    exceeds,
    may_bind,
    top_k,
    uncapped_reports,
)
from executor.allocation_greedy import Greedy

NO_CAPS = Caps()


@dataclass(frozen=True)
class Problem:
    candidates: Candidates
    caps: Caps
    k: int
    keys: np.ndarray
    hashes: np.ndarray

    def chunks(self, size):
        cuts = range(size, max(len(self.keys), 1), size)
        return list(zip(np.split(self.keys, cuts), np.split(self.hashes, cuts), strict=True))


@dataclass(frozen=True)
class Answer:
    """The winners as a list of (customer, rank, candidate, key), and what the caps did."""

    winners: list
    reports: list
    fates: Fates


@st.composite
def problems(draw):
    """Random problems full of ties; half of the caps are about as large as what is wanted."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, width, k = random.integers([0, 1, 1], [61, 13, 5])
    offers, channels = random.integers(1, [width + 1, 5])
    spread = random.choice([1, 3, 10**9])
    keys = random.integers(-spread, spread + 1, (rows, width))
    keys[random.random((rows, width)) < random.choice([0.0, 0.2, 0.7])] = NONE
    keys[random.random(rows) < 0.1] = NONE

    def limit(sharers):
        largest = max(rows * k * random.choice([0.3, 1.5, 4.0]) / sharers, 1)
        return None if random.random() < 0.4 else int(random.integers(0, int(largest) + 1))

    return Problem(
        Candidates(random.integers(0, offers, width), random.integers(0, channels, width)),
        Caps(limit(1), limit(offers), limit(channels)),
        int(k),
        keys.astype(np.int32),
        random.integers(0, random.choice([2, 2**62]), rows).astype(np.uint64),
    )


def caps_of(problem, candidate):
    return [
        ("total", None),
        ("offer", int(problem.candidates.offer[candidate])),
        ("channel", int(problem.candidates.channel[candidate])),
    ]


def items_of(problem):
    return [
        (customer, candidate, int(key))
        for customer, keys in enumerate(problem.keys)
        for candidate, key in enumerate(keys)
        if key != NONE
    ]


def walk(problem, order):
    """The reference: decide item by item, in the order given by a sort key."""
    caps = problem.caps
    limits = {"total": caps.total, "offer": caps.per_offer, "channel": caps.per_channel}
    used, closed, got = Counter(), set(), {}
    for customer, candidate, key in sorted(items_of(problem), key=order):
        mine = got.setdefault(customer, [])
        offers = [problem.candidates.offer[other] for other, _ in mine]
        if len(mine) == problem.k or problem.candidates.offer[candidate] in offers:
            continue
        caps = caps_of(problem, candidate)
        if closed.intersection(caps):
            continue
        full = [cap for cap in caps if limits[cap[0]] is not None and used[cap] >= limits[cap[0]]]
        closed.update(full)
        if not full:
            used.update(caps)
            mine.append((candidate, key))
    return got, used, closed, limits


def reference(problem, order):
    got, used, closed, limits = walk(problem, order)
    wished = walk(replace(problem, caps=NO_CAPS), order)[0]
    named = {
        cap
        for candidate in range(len(problem.candidates.offer))
        for cap in caps_of(problem, candidate)
    }
    in_order = sorted(named, key=lambda cap: (["total", "offer", "channel"].index(cap[0]), cap[1]))
    return Answer(
        [
            (customer, rank, candidate, key)
            for customer in sorted(got)
            for rank, (candidate, key) in enumerate(got[customer], 1)
        ],
        [
            CapReport(*cap, limits[cap[0]], used[cap], cap in closed)
            for cap in in_order
            if limits[cap[0]] is not None
        ],
        Fates(
            sum(not got[customer] for customer in wished),
            sum(bool(got[customer]) and got[customer] != wished[customer] for customer in wished),
        ),
    )


def customer_order(item):
    customer, candidate, key = item
    return customer, -key, candidate


def score_order(problem):
    def order(item):
        customer, candidate, key = item
        return -key, int(problem.hashes[customer]), customer, candidate

    return order


def listed(parts):
    """Chunks of winners as one list, rows counted from the first chunk."""
    found, start = [], 0
    for winners, rows in parts:
        columns = (winners.row + start, winners.rank, winners.candidate, winners.key)
        found += list(zip(*(column.tolist() for column in columns), strict=True))
        start += rows
    return found


def caps_in_use(problem, counts):
    use = CapUse(problem.candidates, problem.caps)
    if counts is not None:
        use.count(counts)
    return use


def first_come(problem, size, counts=None):
    strategy = FirstCome(caps_in_use(problem, counts), problem.k)
    parts = [(strategy.take(keys), len(keys)) for keys, _ in problem.chunks(size)]
    return Answer(listed(parts), strategy.reports(), strategy.fates())


def greedy(problem, size, counts=None, **options):
    chunks = problem.chunks(size)
    rows = [len(keys) for keys, _ in chunks]
    strategy = Greedy(
        caps_in_use(problem, counts),
        problem.k,
        rows=rows,
        matrix=lambda number: chunks[number],
        **options,
    )
    strategy.run()
    parts = [(strategy.winners(number), count) for number, count in enumerate(rows)]
    return Answer(listed(parts), strategy.reports(), strategy.fates())


def assert_read_rarely(reads, reports, spare):
    closed = Counter(report.kind for report in reports if report.bound)
    assert max(reads.values()) <= 1 + closed["channel"] + closed["offer"] // (spare + 1)


def assert_no_room_left(problem, answer):
    """No cap exceeded, and nobody could have had one more."""
    room = {(report.kind, report.index): report.limit - report.used for report in answer.reports}
    assert min(room.values(), default=0) >= 0
    got = {}
    for customer, _, candidate, _ in answer.winners:
        got.setdefault(customer, set()).add(problem.candidates.offer[candidate])
    for customer, candidate, _ in items_of(problem):
        mine = got.get(customer, set())
        if len(mine) < problem.k and problem.candidates.offer[candidate] not in mine:
            assert any(room.get(cap) == 0 for cap in caps_of(problem, candidate))


def table(*rows):
    return np.array(rows, np.int32).reshape(len(rows), -1)


def offers_on_one_channel(*rows, caps, k=1, hashes=None):
    """Candidate n is offer n; hashes follow the customers if not given."""
    keys = table(*rows)
    candidates = Candidates(np.arange(keys.shape[1]), np.zeros(keys.shape[1], np.int64))
    ties = np.array(range(len(rows)) if hashes is None else hashes, np.uint64)
    return Problem(candidates, caps, k, keys, ties)


def large_problem(rows):
    random = np.random.default_rng(20)
    return Problem(
        Candidates(np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1])),
        Caps(rows, rows // 3, rows // 2),
        2,
        random.integers(-50, 50, (rows, 4)).astype(np.int32),
        random.integers(0, 2**63, rows).astype(np.uint64),
    )


@settings(derandomize=True, deadline=None, max_examples=80)
@given(problems())
def test_top_k_is_each_customers_own_walk(problem):
    free = replace(problem, caps=NO_CAPS)
    winners = top_k(problem.keys, problem.candidates, problem.k)
    expected = reference(free, customer_order).winners
    assert listed([(winners, len(problem.keys))]) == expected


@settings(derandomize=True, deadline=None, max_examples=80)
@given(problems())
def test_first_come_equals_the_reference_for_every_chunk_size(problem):
    expected = reference(problem, customer_order)
    assert_no_room_left(problem, expected)
    for size in (1, 2, 5, 60):
        assert first_come(problem, size) == expected


@settings(derandomize=True, deadline=None, max_examples=80)
@given(problems(), st.integers(0, 3), st.sampled_from([1, 4, 20, 100]))
def test_score_equals_the_reference_for_every_chunk_size(problem, spare, window):
    expected = reference(problem, score_order(problem))
    assert_no_room_left(problem, expected)
    for size in (1, 2, 5, 60):
        assert greedy(problem, size, spare=spare, window=window) == expected
    assert greedy(problem, 60) == expected


@settings(derandomize=True, deadline=None, max_examples=80)
@given(problems())
def test_a_solution_that_exceeds_no_cap_is_everyones_answer(problem):
    free = reference(replace(problem, caps=NO_CAPS), customer_order)
    counts = np.bincount([item[2] for item in free.winners], minlength=problem.keys.shape[1])
    capped = reference(problem, customer_order)
    is_bound = any(report.bound for report in capped.reports)
    assert exceeds(problem.caps, problem.candidates, counts) == is_bound
    if is_bound:
        assert may_bind(problem.caps, problem.candidates, len(problem.keys), problem.k)
    else:
        reports = uncapped_reports(problem.caps, problem.candidates, counts)
        expected = Answer(free.winners, reports, Fates(0, 0))
        assert first_come(problem, 60) == greedy(problem, 60) == expected


def test_top_k_keeps_one_channel_per_offer():
    candidates = Candidates(np.array([0, 0, 1]), np.array([0, 1, 0]))
    winners = top_k(table([7, 8, 8], [NONE, NONE, NONE], [NONE, 3, 4]), candidates, 2)
    assert listed([(winners, 3)]) == [(0, 1, 1, 8), (0, 2, 2, 8), (2, 1, 2, 4), (2, 2, 1, 3)]


def test_first_come_lets_the_next_candidate_step_in():
    answer = first_come(offers_on_one_channel([9, 1], [8, 1], [9, 1], caps=Caps(None, 2)), 3)
    assert answer.winners == [(0, 1, 0, 9), (1, 1, 0, 8), (2, 1, 1, 1)]
    assert answer.reports == [CapReport("offer", 0, 2, 2, True), CapReport("offer", 1, 2, 1, False)]
    assert answer.fates == Fates(capped_out=0, lowered=1)


def test_score_gives_the_scarce_offer_to_the_highest():
    answer = greedy(offers_on_one_channel([5, 1], [9, 1], [7, 1], caps=Caps(None, 1)), 2)
    assert answer.winners == [(0, 1, 1, 1), (1, 1, 0, 9)]
    assert answer.reports == [CapReport("offer", 0, 1, 1, True), CapReport("offer", 1, 1, 1, True)]
    assert answer.fates == Fates(capped_out=1, lowered=1)


def test_score_breaks_ties_by_hash_then_customer():
    problem = offers_on_one_channel([5], [5], [5], [5], caps=Caps(2), hashes=[9, 2, 2**64 - 1, 2])
    assert greedy(problem, 4).winners == [(1, 1, 0, 5), (3, 1, 0, 5)]


def test_a_cap_that_closes_earlier_frees_room_under_another():
    candidates = Candidates(np.array([0, 1, 2]), np.array([0, 1, 0]))
    keys = table([9, NONE, NONE], [8, 1, NONE], [NONE, NONE, 7])
    problem = Problem(candidates, Caps(None, 1, 2), 1, keys, np.arange(3, dtype=np.uint64))
    expected = [(0, 1, 0, 9), (1, 1, 1, 1), (2, 1, 2, 7)]
    assert greedy(problem, 3).winners == first_come(problem, 3).winners == expected


@pytest.mark.parametrize("allocate", [first_come, greedy])
def test_total_cap_ends_the_run(allocate):
    problem = offers_on_one_channel([9, 8], [7, 6], [NONE, NONE], [5, 4], caps=Caps(3), k=2)
    answer = allocate(problem, 3)
    assert answer.winners == [(0, 1, 0, 9), (0, 2, 1, 8), (1, 1, 0, 7)]
    assert answer.reports == [CapReport("total", None, 3, 3, True)]
    assert answer.fates == Fates(capped_out=1, lowered=1)


@pytest.mark.parametrize("allocate", [first_come, greedy])
@pytest.mark.parametrize("caps", [Caps(0), Caps(None, 0), Caps(None, None, 0)])
def test_a_cap_of_nothing_lets_nobody_in(allocate, caps):
    answer = allocate(offers_on_one_channel([9, 8], [7, NONE], caps=caps, k=2), 1)
    assert (answer.winners, answer.fates) == ([], Fates(capped_out=2, lowered=0))
    assert all(report.bound for report in answer.reports)


@pytest.mark.parametrize("allocate", [first_come, greedy])
def test_no_candidates_give_nothing(allocate):
    nothing = Candidates(np.array([], int), np.array([], int))
    problem = Problem(nothing, Caps(5, 5, 5), 2, np.empty((3, 0), np.int32), np.zeros(3, np.uint64))
    expected = Answer([], [CapReport("total", None, 5, 0, False)], Fates(0, 0))
    assert allocate(problem, 2) == expected
    assert not may_bind(Caps(0, 0, 0), nothing, 3, 2)


def test_large_chunks_are_served_in_the_same_order_as_small_ones():
    problem = large_problem(2 * BLOCK_ROWS + 5)
    assert first_come(problem, len(problem.keys)) == first_come(problem, 1000)
    assert greedy(problem, len(problem.keys)) == greedy(problem, 1000, window=777)


@pytest.mark.parametrize("strategy", [first_come, greedy])
def test_what_others_have_used_leaves_less_room(strategy):
    whole = large_problem(300)
    counts = np.array([7, *[0] * (len(whole.candidates.offer) - 1)])
    answer = strategy(whole, 100, counts)
    for cap in answer.reports:
        assert cap.used <= cap.limit
    won = np.bincount([one[2] for one in answer.winners], minlength=counts.size) + counts
    total = next(cap for cap in answer.reports if cap.kind == "total")
    assert total.used == won.sum()


@pytest.mark.parametrize(
    ("meaning", "caps", "expected"),
    [
        ("no cap", Caps(), False),
        ("total just enough for two distinct offers each", Caps(20), False),
        ("total one short", Caps(19), True),
        ("offer enough for every customer", Caps(None, 10), False),
        ("offer one short", Caps(None, 9), True),
        ("channel enough for its two offers", Caps(None, None, 20), False),
        ("channel one short", Caps(None, None, 19), True),
    ],
)
def test_may_bind_only_when_the_customers_could_fill_a_cap(meaning, caps, expected):
    candidates = Candidates(np.array([0, 1, 1, 1]), np.array([0, 0, 0, 1]))
    assert may_bind(caps, candidates, customers=10, k=3) is expected
