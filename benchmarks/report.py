"""The result of a bench as a table for people."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

MEGABYTE = 1e6


def print_report(result: dict[str, Any], console: Console) -> None:
    """Print top 1 and top 3 side by side."""
    columns = {"top 1": result, "top 3": result["top3"]}
    table = Table(title=f"{result['customers']:,} x {result['offers']} x {result['channels']}")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for label, text in LINES.items():
        table.add_row(label, *(text(column) for column in columns.values()))
    for stage in result["stages"]:
        table.add_row(f"  {stage}", *(f"{c['stages'][stage]:.2f} s" for c in columns.values()))
    console.print(table)
    machine = result["machine"]
    console.print(
        f"{machine['cores']} cores, Python {machine['python']}, PostgreSQL"
        f" {machine['postgresql']}, load {machine['load'][0]} before and {machine['load'][1]} after"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _times(value: float | None, run: float) -> str:
    return "-" if value is None else f"{value / run:.2f}"


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value / MEGABYTE:,.0f} MB"


LINES: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "customers with an offer": lambda c: f"{c['eligible']:,}",
    "recommendations": lambda c: f"{c['recommendations']:,}",
    "customers per second": lambda c: f"{c['customers_per_second']:,}",
    "run / floor": lambda c: f"{c['ratio']:.2f}",
    "SQL by hand / run": lambda c: _times(c["sql_seconds"], c["run_seconds"]),
    "Python loop / run": lambda c: _times(c["python_loop_seconds"], c["run_seconds"]),
    "peak memory, our processes": lambda c: _bytes(c["peak_rss_bytes"]),
    "peak memory, PostgreSQL": lambda c: _bytes(c["postgres_rss_bytes"]),
    "floor": lambda c: _seconds(c["floor_seconds"]),
    "SQL by hand, decision": lambda c: _seconds(c["sql_seconds"]),
    "SQL generated, decision": lambda c: _seconds(c.get("generated_sql_seconds")),
    "contacts and file by SQL": lambda c: _seconds(c.get("sql_outputs_seconds")),
    "Python loop, scaled": lambda c: _seconds(c["python_loop_seconds"]),
    "run with start of process": lambda c: _seconds(c["wall_seconds"]),
    "run": lambda c: _seconds(c["run_seconds"]),
}
