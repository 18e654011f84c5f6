"""Measures `import_customers` against a bare COPY of the same bytes into an equal typed table.

Run it as `python benchmarks/import_rate.py [--rows N] [--json]`; it uses the configured database
and leaves nothing there. Both are timed in turns, best of three.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")

import django  # noqa: E402

django.setup()

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from psycopg import sql  # noqa: E402

from campaigns.models import Schema  # noqa: E402
from campaigns.services.imports import import_customers  # noqa: E402
from campaigns.services.schemas import drop_schema  # noqa: E402
from kaireon.access.models import Tenant  # noqa: E402

ROUNDS = 3
NAME = "import rate"
COPY_BYTES = 1 << 16
BARE = sql.Identifier("data", "import_rate_bare")


def write_customers(path: Path, rows: int) -> None:
    """Write `rows` seeded customers of a bank, 17 columns, keys in no order."""
    random = np.random.default_rng(20_240_101)

    def pick(*values: str) -> Any:
        return np.array(values)[random.integers(0, len(values), rows)]

    opened = np.datetime64("2005-01-01") + random.integers(0, 7000, rows)
    pl.DataFrame(
        {
            "customer_id": [f"C{number:09d}" for number in random.permutation(rows)],
            "age": random.integers(18, 95, rows),
            "job": pick("management", "technician", "blue-collar", "admin.", "retired", "unknown"),
            "marital": pick("married", "single", "divorced"),
            "education": pick("tertiary", "secondary", "primary", "unknown"),
            "default": pick("yes", "no"),
            "balance": random.normal(1500, 3000, rows).round(2),
            "housing": pick("yes", "no"),
            "loan": pick("yes", "no"),
            "contact": pick("cellular", "telephone", "unknown"),
            "opened": opened,
            "month": pick("may", "jun", "jul", "nov"),
            "duration": random.integers(0, 4000, rows),
            "campaign": random.integers(1, 40, rows),
            "pdays": random.integers(-1, 800, rows),
            "previous": random.integers(0, 20, rows),
            "subscribed": pick("yes", "no"),
        }
    ).write_csv(path)


def time_import(tenant: Tenant, path: Path) -> tuple[Schema, float]:
    """Seconds of a whole import: reading, types, COPY, key index, ANALYZE, commit."""
    start = time.perf_counter()
    result = import_customers(tenant, path, schema=NAME, key="customer_id")
    return result.schema, time.perf_counter() - start


def time_bare_copy(path: Path, like: Schema) -> float:
    """Seconds of the COPY alone, into an empty table of the same types without index."""
    twin = sql.Identifier(like.relation_schema, like.relation_name)
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(BARE))
        cursor.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(BARE, twin))
        start = time.perf_counter()
        statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(BARE)
        with cursor.copy(statement) as copy, path.open("rb") as file:
            while piece := file.read(COPY_BYTES):
                copy.write(piece)
        seconds = time.perf_counter() - start
        cursor.execute(sql.SQL("DROP TABLE {}").format(BARE))
    return seconds


@contextmanager
def own_tenant() -> Iterator[Tenant]:
    """A tenant that is gone afterwards, with its schemas."""
    tenant = Tenant.objects.create(slug=f"import-rate-{secrets.token_hex(4)}", name=NAME)
    try:
        yield tenant
    finally:
        for schema in Schema.objects.of(tenant):
            drop_schema(schema)
        tenant.delete()


def measure(rows: int) -> dict[str, float]:
    """Time both ways in turns and compare the best of each."""
    imports, copies = [], []
    with tempfile.TemporaryDirectory() as folder, own_tenant() as tenant:
        path = Path(folder) / "customers.csv"
        write_customers(path, rows)
        size = path.stat().st_size
        for _ in range(ROUNDS):
            schema, seconds = time_import(tenant, path)
            imports.append(seconds)
            copies.append(time_bare_copy(path, schema))
            drop_schema(schema)
    return {
        "rows": rows,
        "bytes": size,
        "copy_seconds": round(min(copies), 3),
        "import_seconds": round(min(imports), 3),
        "copy_rows_per_second": round(rows / min(copies)),
        "import_rows_per_second": round(rows / min(imports)),
        "ratio": round(min(copies) / min(imports), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    call_command("migrate", verbosity=0)
    result = measure(arguments.rows)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['rows']:,} rows, {result['bytes'] / 1e6:.1f} MB, best of {ROUNDS}")
    for way in ("copy", "import"):
        rate = result[f"{way}_rows_per_second"]
        print(f"{way:<7}{result[f'{way}_seconds']:>8.2f} s {rate:>10,} rows/s")
    print(f"ratio  {result['ratio']:>8.2f}   (import / bare COPY; at least 0.4 is wanted)")


if __name__ == "__main__":
    main()
