"""The documented examples of the Runs API, for its description."""

from drf_spectacular.utils import OpenApiExample

LISTED = OpenApiExample(
    "Campaigns",
    response_only=True,
    value={
        "id": "camp_001",
        "name": "Weekly High-Value Campaign",
        "status": "active",
        "scheduleType": "weekly",
        "scheduleDayOfWeek": 1,
        "scheduleTime": "09:00",
        "scheduleTimezone": "America/New_York",
        "decisionFlowName": "Q1 Cross-Sell",
        "segmentName": "High Value Customers",
        "segmentCustomerCount": 4521,
        "runCount": 3,
        "lastRunAt": "2026-03-15T14:00:00.000Z",
        "latestRun": {"id": "crun_003", "status": "completed", "runNumber": 3},
    },
)
CREATE = OpenApiExample(
    "A weekly campaign",
    request_only=True,
    value={
        "decisionFlowId": "df_001",
        "segmentId": "seg_001",
        "name": "Weekly High-Value Campaign",
        "status": "active",
        "scheduleType": "weekly",
        "scheduleDayOfWeek": 1,
        "scheduleTime": "09:00",
        "scheduleTimezone": "America/New_York",
        "volumeConstraints": {"maxTotalPerRun": 10000, "maxPerOffer": 500},
        "fileConfig": {
            "format": "csv",
            "columns": ["customer_id", "offer_name", "channel", "score"],
            "destination": "download",
        },
    },
)
SCHEDULE = OpenApiExample(
    "On the last working day of the month",
    request_only=True,
    value={
        "scheduleType": "monthly",
        "scheduleDayOfMonth": "last_working_day",
        "scheduleTime": "09:00",
        "scheduleTimezone": "Europe/Rome",
        "holidayCalendar": "IT",
    },
)
TRIGGERED = OpenApiExample(
    "Triggered",
    response_only=True,
    value={
        "id": "crun_001",
        "campaignId": "camp_001",
        "runNumber": 4,
        "triggeredBy": "manual",
        "status": "pending",
        "createdAt": "2026-03-22T09:00:00.000Z",
    },
)
EXECUTE = OpenApiExample(
    "Of a campaign",
    request_only=True,
    value={
        "runId": "camp_001",
        "decisionFlowId": "df_001",
        "segmentViewName": "seg_0a1b2c3d4e5f",
    },
)
EXECUTING = OpenApiExample(
    "Dispatched", response_only=True, value={"status": "executing", "runId": "crun_042"}
)
