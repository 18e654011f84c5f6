"""Beat's scheduler: the one of the database, which refuses a broker that drops messages."""

from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler

from kaireon.checks import refuse_faults


class Scheduler(DatabaseScheduler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        refuse_faults()
        super().__init__(*args, **kwargs)
