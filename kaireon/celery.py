"""The Celery application: it carries "look at the database" messages and nothing else."""

import os
from typing import Any

from celery import Celery, bootsteps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")


class BrokerKeepsMessages(bootsteps.Step):
    """Ends a worker at its start if the broker may drop messages; beat looks in `kaireon.beat`."""

    def __init__(self, worker: Any, **options: Any) -> None:
        from kaireon.checks import refuse_faults  # Django's settings are not there any earlier

        super().__init__(worker, **options)
        refuse_faults()


app = Celery("kaireon")
app.config_from_object("django.conf:settings", namespace="CELERY")
# A worker without -Q takes them all: `control` is for what is quick, `files` for the long steps of
# runs, `chunks` for their chunks.
app.conf.task_queues = {name: {"exchange": name} for name in ("control", "files", "chunks")}
app.conf.task_default_queue = "control"
app.conf.task_create_missing_queues = False  # a name mistyped below fails at once
app.conf.task_routes = {
    "executor.tasks.advance_run": "files",
    "executor.tasks.work_chunk": "chunks",
    "campaigns.tasks.pulse": "control",
}
app.autodiscover_tasks(["executor", "campaigns"])
app.steps["worker"].add(BrokerKeepsMessages)
