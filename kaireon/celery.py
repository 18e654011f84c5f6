"""The Celery application: it carries "look at the database" messages and nothing else."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kaireon.settings")

app = Celery("kaireon")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_default_queue = "runs"
app.autodiscover_tasks(["executor", "campaigns"])
