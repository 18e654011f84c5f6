"""What the drill has to say, as tables on a terminal or as JSON."""

from typing import Any

from rich.console import Console
from rich.table import Table

from campaigns.management.drill.course import Result


def print_result(console: Console, result: Result) -> None:
    faults = Table("Fault", "Times", "Runs in work when it struck", title="Faults survived")
    for name, times, hit in sorted(result.faults, key=lambda row: -row[1]):
        faults.add_row(name, f"{times:,}", f"{hit / times:.1f} on average" if hit else "")
    console.print(faults)
    invariants = Table("What must be true", "Checked", "Broken")
    for finding in result.findings:
        invariants.add_row(finding.name, f"{finding.looked_at:,}", f"{len(finding.broken):,}")
    console.print(invariants)
    if result.retaken:
        console.print(_retaken(result))
    figures = Table(title="Figures", show_header=False)
    for name, value in result.figures.items():
        figures.add_row(name, f"{value:,}")
    console.print(figures)
    for fault in result.broken:
        console.print(f"BROKEN {fault}", markup=False, highlight=False, style="red")


def _retaken(result: Result) -> Table:
    table = Table("Run", "Chunk", "Seconds from kill -9 to its new worker", title="Lost chunks")
    for one in result.retaken:
        table.add_row(str(one.run_key), str(one.chunk), f"{one.seconds:.1f}")
    return table


def as_json(result: Result) -> dict[str, Any]:
    return {
        "faults": {name: times for name, times, _ in result.faults},
        "invariants": {
            finding.name: {"checked": finding.looked_at, "broken": finding.broken}
            for finding in result.findings
        },
        "retaken_seconds": [round(one.seconds, 2) for one in result.retaken],
        "figures": result.figures,
    }
