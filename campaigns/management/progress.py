"""A live progress bar for a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from executor.drain import Progress as Step
from executor.drain import Watch, silent


class Speed(ProgressColumn):
    """Customers per second of the phase."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} customers/s" if speed else "")


@contextmanager
def progress_bar(*, show: bool) -> Iterator[Watch]:
    """Give a watch that draws one bar per phase on stderr, or nothing unless `show`."""
    if not show:
        yield silent
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TaskProgressColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    phases: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as drawn:

        def watch(step: Step) -> None:
            if step.phase not in phases:
                for earlier in phases.values():
                    finish(earlier)
                phases[step.phase] = drawn.add_task(step.phase, total=step.total or None)
            drawn.update(phases[step.phase], completed=step.done, total=step.total or None)

        def finish(task: TaskID) -> None:
            done = drawn.tasks[task].completed or 1
            drawn.update(task, total=done, completed=done)

        yield watch
        for task in phases.values():
            finish(task)
