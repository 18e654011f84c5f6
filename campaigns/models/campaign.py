"""A campaign: which flow, for which segment, when, how much, and into which file."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from campaigns.models.channel import Channel
from campaigns.models.configured import Configured
from campaigns.models.flow import Flow
from campaigns.models.segment import Segment
from campaigns.models.status import Status, status_known
from kaireon.access.history import kept

#: A week: what is later than that belongs to the next instant of most schedules.
MAX_GRACE_MINUTES = 7 * 24 * 60


def default_file_columns() -> list[str]:
    return ["customer_id", "offer_name", "channel", "score"]


def default_weekend() -> list[int]:
    return [6, 0]


def natural_or_null(field: str, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(**{f"{field}__isnull": True}) | Q(**{f"{field}__gte": 1}), name=name
    )


class Campaign(Configured):
    class ScheduleType(models.TextChoices):
        MANUAL = "manual"
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    class MisfirePolicy(models.TextChoices):
        SKIP = "skip"
        RUN_ONCE = "run_once", "run once"

    class OverlapPolicy(models.TextChoices):
        SKIP = "skip"
        QUEUE = "queue"
        ALLOW = "allow"

    class Allocation(models.TextChoices):
        SCORE = "score", "highest score first"
        FIRST_COME = "first_come", "first come, first served"

    class FileFormat(models.TextChoices):
        CSV = "csv", "CSV"
        JSON = "json", "JSON"
        PARQUET = "parquet", "Parquet"

    class Destination(models.TextChoices):
        DOWNLOAD = "download"
        S3 = "s3", "S3"

    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    flow = models.ForeignKey(Flow, on_delete=models.PROTECT, related_name="campaigns")
    segment = models.ForeignKey(Segment, on_delete=models.PROTECT, related_name="campaigns")
    #: Batch channels to use; none means all of them.
    channels = models.ManyToManyField(Channel, blank=True, related_name="campaigns")

    schedule_type = models.CharField(
        max_length=10, choices=ScheduleType, default=ScheduleType.MANUAL
    )
    #: 0 = Sunday to 6 = Saturday.
    schedule_day_of_week = models.SmallIntegerField(null=True, blank=True)
    #: "1" to "28" or "last_working_day".
    schedule_day_of_month = models.CharField(max_length=20, null=True, blank=True)  # noqa: DJ001
    #: HH:mm in `schedule_timezone`.
    schedule_time = models.CharField(max_length=5, default="09:00")
    schedule_timezone = models.CharField(max_length=63, default="UTC")
    schedule_cron = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    #: Whose holidays are no working days: a country ("IT", "US-NY") or market ("XECB"); "" none.
    holiday_calendar = models.CharField(max_length=16, blank=True)
    #: Days of the week that are no working days, 0 = Sunday to 6 = Saturday.
    weekend_days = ArrayField(models.SmallIntegerField(), default=default_weekend, blank=True)
    #: What becomes of an instant that the scheduler comes to late.
    misfire_policy = models.CharField(
        max_length=10, choices=MisfirePolicy, default=MisfirePolicy.RUN_ONCE
    )
    #: How late `run_once` still runs.
    misfire_grace_minutes = models.PositiveIntegerField(default=60)
    #: What becomes of an instant at which a run of the campaign is unfinished.
    overlap_policy = models.CharField(
        max_length=10, choices=OverlapPolicy, default=OverlapPolicy.SKIP
    )
    #: When the campaign is due; null unless it is active and scheduled. Only the scheduler writes
    #: it, so it is no change of the configuration.
    next_run_at = models.DateTimeField(null=True, editable=False)
    #: Runs of a higher priority are worked on first, 0 to 100.
    priority = models.PositiveSmallIntegerField(default=50)

    #: Volume constraints; each counts recommendations of one run.
    max_total_per_run = models.BigIntegerField(null=True, blank=True)
    max_per_offer = models.BigIntegerField(null=True, blank=True)
    max_per_channel = models.BigIntegerField(null=True, blank=True)
    #: Percent of the customers who would get something and are held out, to measure what it does.
    holdout_percent = models.FloatField(default=0)
    allocation = models.CharField(max_length=10, choices=Allocation, default=Allocation.SCORE)

    file_format = models.CharField(max_length=8, choices=FileFormat, default=FileFormat.CSV)
    file_columns = ArrayField(models.CharField(max_length=63), default=default_file_columns)
    include_personalization = models.BooleanField(default=False)
    file_destination = models.CharField(
        max_length=8, choices=Destination, default=Destination.DOWNLOAD
    )
    #: s3://bucket/prefix, below one that the tenant may write to; empty for a download.
    s3_path = models.CharField(max_length=1024, blank=True)

    history = kept(m2m_fields=[channels])

    class Meta(Configured.Meta):
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=Q(schedule_type__in=("manual", "daily", "weekly", "monthly")),
                name="campaign_schedule_type_known",
            ),
            models.CheckConstraint(
                condition=Q(schedule_day_of_week__isnull=True)
                | Q(schedule_day_of_week__range=(0, 6)),
                name="campaign_day_of_week_0_to_6",
            ),
            models.CheckConstraint(
                condition=~Q(schedule_type="weekly")
                | Q(schedule_day_of_week__isnull=False)
                | Q(schedule_cron__isnull=False),
                name="campaign_weekly_has_day",
            ),
            models.CheckConstraint(
                condition=~Q(schedule_type="monthly")
                | Q(schedule_day_of_month__isnull=False)
                | Q(schedule_cron__isnull=False),
                name="campaign_monthly_has_day",
            ),
            models.CheckConstraint(
                condition=Q(schedule_day_of_month__isnull=True)
                | Q(schedule_day_of_month__regex=r"^([1-9]|1[0-9]|2[0-8]|last_working_day)$"),
                name="campaign_day_of_month_form",
            ),
            models.CheckConstraint(
                condition=Q(schedule_time__regex=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"),
                name="campaign_time_form",
            ),
            models.CheckConstraint(
                condition=Q(misfire_policy__in=("skip", "run_once")),
                name="campaign_misfire_policy_known",
            ),
            models.CheckConstraint(
                condition=Q(misfire_grace_minutes__lte=MAX_GRACE_MINUTES),
                name="campaign_misfire_grace_max_week",
            ),
            models.CheckConstraint(
                condition=Q(overlap_policy__in=("skip", "queue", "allow")),
                name="campaign_overlap_policy_known",
            ),
            models.CheckConstraint(
                condition=Q(priority__lte=100), name="campaign_priority_max_100"
            ),
            models.CheckConstraint(
                condition=Q(weekend_days__contained_by=[0, 1, 2, 3, 4, 5, 6]),
                name="campaign_weekend_days_0_to_6",
            ),
            natural_or_null("max_total_per_run", "campaign_max_total_min_1"),
            natural_or_null("max_per_offer", "campaign_max_per_offer_min_1"),
            natural_or_null("max_per_channel", "campaign_max_per_channel_min_1"),
            models.CheckConstraint(
                condition=Q(holdout_percent__range=(0, 100)), name="campaign_holdout_0_to_100"
            ),
            models.CheckConstraint(
                condition=Q(allocation__in=("score", "first_come")),
                name="campaign_allocation_known",
            ),
            models.CheckConstraint(
                condition=Q(file_format__in=("csv", "json", "parquet")),
                name="campaign_file_format_known",
            ),
            models.CheckConstraint(
                condition=Q(file_destination__in=("download", "s3")),
                name="campaign_file_destination_known",
            ),
            models.CheckConstraint(
                condition=Q(file_destination="download", s3_path="")
                | (Q(file_destination="s3") & ~Q(s3_path="")),
                name="campaign_s3_has_path",
            ),
            models.CheckConstraint(
                condition=Q(file_columns__len__gte=1), name="campaign_file_columns_min_1"
            ),
            status_known("campaign"),
        )
        indexes = (
            models.Index(fields=("tenant", "-created_at"), name="campaign_newest"),
            # Every pulse reads only what is due.
            models.Index(
                fields=("next_run_at",),
                condition=Q(next_run_at__isnull=False),
                name="campaign_due",
            ),
        )

    def __str__(self) -> str:
        return self.name
