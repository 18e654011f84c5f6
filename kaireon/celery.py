"""The Celery application: it carries "look at the database" messages and nothing else."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")

app = Celery("kaireon")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_default_queue = "runs"
# A wake-up that got lost costs one interval. One that waited longer than that is not needed.
app.conf.beat_schedule = {
    "sweep": {"task": "executor.tasks.sweep", "schedule": 15.0, "options": {"expires": 15}}
}
app.autodiscover_tasks(["executor"])
