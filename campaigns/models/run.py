"""A run of a campaign, its chunks, what happened to it, and its files."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from campaigns.models.campaign import Campaign
from campaigns.models.flow import Flow
from campaigns.models.segment import Segment
from kaireon.access.models import TenantScoped


class CampaignRun(TenantScoped):
    """One execution of a campaign; the row is the only truth about it."""

    class Status(models.TextChoices):
        PENDING = "pending"  # waiting for a worker
        RUNNING = "running"  # processing customers
        COMPLETED = "completed"  # all customers processed
        COMPLETED_WITH_ERRORS = "completed_with_errors"  # finished, some deliveries failed
        FAILED = "failed"  # could not recover
        PAUSED = "paused"  # until somebody resumes it
        CANCELLING = "cancelling"  # stops at the next chunk
        CANCELLED = "cancelled"

    UNFINISHED = (Status.PENDING, Status.RUNNING, Status.PAUSED, Status.CANCELLING)

    class Phase(models.TextChoices):
        CLAIM = "claim"
        FREEZE = "freeze"
        DECIDE = "decide"
        ALLOCATE = "allocate"
        WRITE = "write"
        FINISH = "finish"
        DONE = "done"

    campaign = models.ForeignKey(Campaign, on_delete=models.PROTECT, related_name="runs")
    run_number = models.PositiveIntegerField()
    #: Tried out: it delivers nothing, and leaves nothing behind but its results. Numbered apart.
    dry_run = models.BooleanField(default=False, db_default=False)
    #: How many customers a dry run decides about; null is all.
    sample = models.PositiveIntegerField(null=True)
    triggered_by = models.CharField(max_length=20, default="manual")
    status = models.CharField(max_length=24, choices=Status, default=Status.PENDING)
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.CLAIM)
    #: What the run waits for, in words for the reader.
    waits_for = models.CharField(max_length=100, blank=True)
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)

    #: Given to execute-inline instead of the campaign's own, for this run alone.
    flow = models.ForeignKey(Flow, on_delete=models.SET_NULL, null=True, related_name="+")
    segment = models.ForeignKey(Segment, on_delete=models.SET_NULL, null=True, related_name="+")

    #: Runs of a higher priority are worked on first, 0 to 100: the campaign's at the time.
    priority = models.PositiveSmallIntegerField(default=50)
    #: Whether it must wait for the earlier runs of its campaign to end.
    in_turn = models.BooleanField(default=False)
    #: Whether the flow in its spec applies contact policies, and whether it has, or had, the turn
    #: of its tenant that this takes: see `campaigns.models.turn`.
    has_policies = models.BooleanField(default=False, db_default=False)
    policy_turn = models.BooleanField(default=False, db_default=False)

    scheduled_for = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    #: The frozen RunSpec: everything the run needs besides the frozen customers.
    spec = models.JSONField(null=True)
    summary = models.JSONField(null=True)
    #: What the caps did, once allocation has ended: the caps and how far each was used.
    allocation_report = models.JSONField(null=True)
    audience_count = models.BigIntegerField(null=True)
    customers_done = models.BigIntegerField(default=0)
    #: Chunks the present phase has still to do; whoever does the last one opens the next phase.
    chunks_left = models.PositiveIntegerField(default=0)
    #: How often the run was opened again for chunks that had failed.
    reopened = models.PositiveSmallIntegerField(default=0)
    #: The instant of all contacts of the run.
    contacts_at = models.DateTimeField(null=True)

    #: Who does the present step of the run (freeze, allocate, finish): every claim raises the
    #: token, and only its holder may write. Chunks have leases of their own.
    lease_until = models.DateTimeField(null=True)
    fencing_token = models.BigIntegerField(default=0)

    class Meta(TenantScoped.Meta):
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("campaign", "dry_run", "run_number"), name="run_number_once"
            ),
            models.UniqueConstraint(
                fields=("campaign", "scheduled_for"), name="run_once_per_scheduled_instant"
            ),
            models.CheckConstraint(condition=Q(run_number__gte=1), name="run_number_positive"),
            models.CheckConstraint(
                condition=Q(sample__isnull=True) | Q(dry_run=True, sample__gte=1),
                name="run_sample_only_when_dry",
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=(
                        "pending",
                        "running",
                        "completed",
                        "completed_with_errors",
                        "failed",
                        "paused",
                        "cancelling",
                        "cancelled",
                    )
                ),
                name="run_status_known",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=("completed", "completed_with_errors"))
                | (Q(completed_at__isnull=False) & Q(summary__isnull=False)),
                name="run_completed_has_summary",
            ),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(error=""), name="run_failed_says_why"
            ),
        )
        indexes = (
            # The queue: every look for work reads only what is unfinished.
            models.Index(
                fields=("created_at", "id"),
                condition=Q(status__in=("pending", "running", "paused", "cancelling")),
                name="run_unfinished",
            ),
        )

    def __str__(self) -> str:
        return f"{self.campaign} {'dry run ' if self.dry_run else ''}#{self.run_number}"


class RunChunk(models.Model):
    """A numbered slice of the frozen customers, in key order."""

    class Status(models.TextChoices):
        FROZEN = "frozen"
        DECIDED = "decided"
        WRITTEN = "written"
        DEAD = "dead"  # given up after too many attempts

    run = models.ForeignKey(CampaignRun, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    status = models.CharField(max_length=8, choices=Status, default=Status.FROZEN)
    customers = models.PositiveIntegerField()
    input_key = models.CharField(max_length=255)
    input_sha256 = models.CharField(max_length=64)
    #: Its customers are from one to the other, both included; null in chunks of older runs.
    first_key = models.TextField(db_collation="C", null=True)  # noqa: DJ001
    last_key = models.TextField(db_collation="C", null=True)  # noqa: DJ001
    #: Spooled winners, until they are written.
    winners_key = models.CharField(max_length=255, blank=True)
    part_key = models.CharField(max_length=255, blank=True)
    #: Counts of the chunk: funnel, candidates, per offer and channel.
    counts = models.JSONField(default=dict)

    #: Who works on the chunk: every claim raises the token, and only its holder may write.
    lease_until = models.DateTimeField(null=True)
    fencing_token = models.BigIntegerField(default=0)
    #: How often it was taken up, and how often that ended in an error.
    attempts = models.PositiveSmallIntegerField(default=0)
    faults = models.PositiveSmallIntegerField(default=0)
    #: Which opening of the run it is done for: 0 unless it had been given up.
    reopened = models.PositiveSmallIntegerField(default=0)
    #: Not to be taken up again before.
    not_before = models.DateTimeField(null=True)

    class Meta:
        ordering = ("run", "number")
        constraints = (
            models.UniqueConstraint(fields=("run", "number"), name="chunk_number_once"),
            models.CheckConstraint(
                condition=Q(status__in=("frozen", "decided", "written", "dead")),
                name="chunk_status_known",
            ),
            models.CheckConstraint(condition=Q(customers__gte=1), name="chunk_not_empty"),
        )
        indexes = (
            models.Index(
                fields=("number", "run"),
                condition=Q(status__in=("frozen", "decided")),
                name="chunk_to_do",
            ),
        )

    def __str__(self) -> str:
        return f"{self.run} chunk {self.number}"


class RunEvent(models.Model):
    """Something that happened to a run; rows are only ever added."""

    run = models.ForeignKey(CampaignRun, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(db_default=Now())
    kind = models.CharField(max_length=40)
    message = models.TextField(blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ("run", "id")

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class RunFile(TenantScoped):
    """A published file of a run: the row makes the stored bytes visible."""

    run = models.ForeignKey(CampaignRun, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=255)
    format = models.CharField(max_length=8)
    storage_key = models.CharField(max_length=255)
    size_bytes = models.BigIntegerField()
    row_count = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())

    class Meta(TenantScoped.Meta):
        ordering = ("run", "id")
        constraints = (
            models.UniqueConstraint(fields=("run", "name"), name="run_file_name_once"),
            models.CheckConstraint(
                condition=Q(size_bytes__gte=0, row_count__gte=0), name="run_file_sizes_natural"
            ),
        )

    def __str__(self) -> str:
        return self.name
