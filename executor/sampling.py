"""The part of a segment that a dry run decides about: its size, caps in proportion, and who.

The customers with the smallest h(key), mixed with a salt of its own by an exclusive or: exact,
the same for every run of a tenant, and a larger sample has all of a smaller one. Other uses of
h(key) mix it by splitmix64, so who is held out does not depend on who is in the sample.
"""

from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from psycopg import sql

from executor.allocation import Caps
from executor.hashing import SAMPLE


@dataclass(frozen=True, slots=True)
class Sample:
    size: int
    #: Customers of the whole segment, as counted when the run began.
    population: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> "Sample | None":
        return None if data is None else cls(**data)

    def scale(self, caps: Caps) -> Caps:
        """Caps of a whole run in proportion to the sample; at least 1, so that none vanishes."""
        return Caps(
            total=self.scaled(caps.total),
            per_offer=self.scaled(caps.per_offer),
            per_channel=self.scaled(caps.per_channel),
            of_offers=tuple(map(self.scaled, caps.of_offers)),
        )

    def scaled(self, cap: int | None) -> int | None:
        if not cap or self.size >= self.population:
            return cap
        return max(1, (2 * cap * self.size + self.population) // (2 * self.population))


def take_sample(size: int | None, place: tuple[str, str]) -> Sample | None:
    """The sample of a view, which is counted for it; None if all of it is decided about."""
    if size is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*place)))
        population: int = cursor.fetchone()[0]
    return Sample(size, population)


def sampled_sql(view: sql.Composable, alias: str, h: sql.Composable, size: int) -> sql.Composable:
    """The view's rows that are in the sample; `h` is h(key) of a row of `alias`."""
    return sql.SQL(
        "(SELECT {alias}.* FROM {view} AS {alias} ORDER BY {h} # {salt}::bigint LIMIT {size})"
    ).format(
        alias=sql.Identifier(alias),
        view=view,
        h=h,
        salt=sql.Literal(SAMPLE),
        size=sql.Literal(size),
    )
