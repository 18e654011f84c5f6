"""Installs the one entry of beat's schedule, and has the scheduler take up active campaigns."""

from django.db import migrations
from django.db.models.functions import Now

NAME = "pulse"


def install(apps, schema_editor):
    intervals = apps.get_model("django_celery_beat", "IntervalSchedule").objects
    # Not get_or_create(): beat allows the same interval several times.
    every = intervals.filter(every=15, period="seconds").first()
    every = every or intervals.create(every=15, period="seconds")
    apps.get_model("django_celery_beat", "PeriodicTask").objects.update_or_create(
        name=NAME,
        defaults={
            "task": "campaigns.tasks.pulse",
            "interval": every,
            "expire_seconds": 15,
            "description": "Makes the runs of the campaigns that are due. The only entry needed.",
        },
    )


def remove(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(name=NAME).delete()


def take_up(apps, schema_editor):
    """The scheduler looks from now on for their first instant."""
    campaigns = apps.get_model("campaigns", "Campaign")._default_manager
    scheduled = campaigns.filter(status="active").exclude(
        schedule_type="manual", schedule_cron__isnull=True
    )
    scheduled.filter(next_run_at__isnull=True).update(next_run_at=Now())


class Migration(migrations.Migration):

    dependencies = [
        ("campaigns", "0004_on_time"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [
        migrations.RunPython(install, remove),
        migrations.RunPython(take_up, migrations.RunPython.noop),
    ]
