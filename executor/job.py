"""A run in work: its lease, its frozen spec, the compiled plan, and where its bytes lie."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from executor.allocation import Candidates, may_bind
from executor.flow.plan import Plan
from executor.manifest import Chunk, load
from executor.progress import Lease
from executor.spec import RunSpec
from executor.storage import Storage


@dataclass(slots=True)
class Job:
    lease: Lease
    spec: RunSpec
    plan: Plan
    storage: Storage
    #: Wall-clock seconds of each stage, of this attempt.
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def candidates(self) -> Candidates:
        return Candidates(
            offer=np.array([c.offer for c in self.plan.candidates]),
            channel=np.array([c.channel for c in self.plan.candidates]),
        )

    @property
    def chunks(self) -> list[Chunk]:
        return load(self.lease.run_key)

    @property
    def may_bind(self) -> bool:
        """Could any cap turn a customer away? If not, winners are final as soon as ranked."""
        customers = sum(chunk.customers for chunk in self.chunks)
        return may_bind(self.spec.caps, self.candidates, customers, self.plan.k)

    def key(self, kind: str, number: int) -> str:
        """A storage key of this attempt: nobody else ever writes it."""
        return f"runs/{self.lease.run_key}/{self.lease.token}/{kind}/{number:06d}"

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[None]:
        """Enter a phase of the run and time it."""
        self.lease.enter(name, total)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
