"""Every address under /api/v1/, as documented: without a trailing slash."""

from typing import Any

from django.urls import URLPattern, path

from campaigns.api import (
    api_keys,
    audit,
    catalog,
    channels,
    dead_letters,
    delivery_errors,
    documentation,
    dry_runs,
    explanations,
    flows,
    interactions,
    members,
    model_scores,
    models,
    policies,
    ranking_profiles,
    results,
    rules,
    run_views,
    runs_of_campaign,
    schedules,
    schema_joins,
    schemas,
    segments,
    uploads,
    views,
    volume_constraints,
)
from campaigns.api.viewsets import TenantViewSet

Actions = dict[str, Any]

LIST: Actions = {"get": "list", "post": "create"}
READ_LIST: Actions = {"get": "list"}
DETAIL: Actions = {"get": "retrieve"}
REFRESH: Actions = {"post": "refresh"}
SCHEMA_DATA: Actions = {"get": "rows", "post": "add_rows"}
CHANGE: Actions = {**DETAIL, "put": "update", "patch": "update", "delete": "destroy"}


def resource(
    name: str, view: type[TenantViewSet], actions: Actions, detail: Actions = DETAIL
) -> list[URLPattern]:
    return [path(name, view.as_view(actions)), path(f"{name}/<str:id>", view.as_view(detail))]


history = views.HistoryViewSet.as_view({"get": "list", "post": "trigger"})
execute_inline = views.CampaignViewSet.as_view({"post": "execute_inline"})
preview_schedule = schedules.ScheduleViewSet.as_view({"post": "preview"})
cancel = run_views.CampaignRunViewSet.as_view({"post": "cancel"})
pause = run_views.CampaignRunViewSet.as_view({"post": "pause"})
resume = run_views.CampaignRunViewSet.as_view({"post": "resume"})
retry = run_views.CampaignRunViewSet.as_view({"post": "retry"})
dry_runs_of_campaign = dry_runs.DryRunViewSet.as_view({"get": "list", "post": "trigger"})
dry_run = dry_runs.DryRunViewSet.as_view(DETAIL)
explain = explanations.ExplainViewSet.as_view({"get": "explain"})
holdout = runs_of_campaign.HoldoutViewSet.as_view(READ_LIST)
results_of_run = results.ResultsViewSet.as_view(READ_LIST)
delivery_errors_of_run = delivery_errors.DeliveryErrorViewSet.as_view(READ_LIST)
files_of_run = run_views.RunFileViewSet.as_view(READ_LIST)
only_file = run_views.DownloadViewSet.as_view({"get": "only_file"})
download = run_views.DownloadViewSet.as_view({"get": "download"})
score_by_model = model_scores.ScoreViewSet.as_view({"post": "score"})
artifact_of_model = model_scores.ArtifactViewSet.as_view({"put": "upload"})
flow_actions = {
    "publish": {"post": "publish"},
    "rollback": {"post": "rollback"},
    "schema": {"get": "definition"},
    "validate": {"post": "validate"},
    "versions": {"get": "versions_of"},
    "<str:id>": CHANGE,
    "<str:id>/versions": {"get": "versions"},
    "<str:id>/versions/<int:number>": {"get": "version"},
}
api_key_detail: Actions = {**DETAIL, "delete": "destroy"}

urlpatterns = [
    path("openapi.json", documentation.openapi, name="openapi"),
    path("docs", documentation.swagger, name="swagger"),
    path("redoc", documentation.redoc, name="redoc"),
    path("runs", views.CampaignViewSet.as_view(LIST)),
    path("runs/execute-inline", execute_inline),
    path("runs/preview-schedule", preview_schedule),
    path("runs/<str:id>", views.CampaignViewSet.as_view(CHANGE)),
    path("runs/<str:id>/campaign-runs", history),
    path("runs/<str:id>/campaign-runs/<str:runId>/explain", explain),
    path("runs/<str:id>/campaign-runs/<str:runId>/holdout", holdout),
    path("runs/<str:id>/campaign-runs/<str:runId>/delivery-errors", delivery_errors_of_run),
    path("runs/<str:id>/dry-runs", dry_runs_of_campaign),
    path("runs/<str:id>/dry-runs/<str:runId>", dry_run),
    path("runs/<str:id>/schedule", schedules.ScheduleViewSet.as_view(DETAIL)),
    path("runs/<str:id>/ticks", schedules.TickViewSet.as_view(READ_LIST)),
    *resource("campaign-runs", run_views.CampaignRunViewSet, READ_LIST),
    path("campaign-runs/<str:id>/cancel", cancel),
    path("campaign-runs/<str:id>/pause", pause),
    path("campaign-runs/<str:id>/resume", resume),
    path("campaign-runs/<str:id>/retry", retry),
    path("campaign-runs/<str:id>/results", results_of_run, name="run-results"),
    path("campaign-runs/<str:id>/events", run_views.RunEventViewSet.as_view(READ_LIST)),
    path("campaign-runs/<str:id>/files", files_of_run),
    path("campaign-runs/<str:id>/file", only_file),
    path("campaign-runs/<str:id>/files/<str:file>/download", download, name="run-file-download"),
    path("decision-flows", flows.FlowViewSet.as_view(LIST)),
    *(
        path(f"decision-flows/{name}", flows.FlowViewSet.as_view(actions))
        for name, actions in flow_actions.items()
    ),
    *resource("ranking-profiles", ranking_profiles.RankingProfileViewSet, LIST, CHANGE),
    *resource("algorithm-models", models.ModelViewSet, LIST, CHANGE),
    path("algorithm-models/<str:id>/score", score_by_model),
    path("algorithm-models/<str:id>/artifact", artifact_of_model),
    path("schemas/upload", uploads.UploadViewSet.as_view({"post": "upload"})),
    *resource("schemas", schemas.SchemaViewSet, LIST, CHANGE),
    path("schemas/<str:id>/data", schemas.SchemaViewSet.as_view(SCHEMA_DATA)),
    path("schemas/<str:id>/refresh", schemas.SchemaViewSet.as_view(REFRESH)),
    *resource("schema-joins", schema_joins.SchemaJoinViewSet, LIST, CHANGE),
    path("segments/preview-count", segments.SegmentViewSet.as_view({"post": "preview_count"})),
    *resource("segments", segments.SegmentViewSet, LIST, {**CHANGE, "post": "act"}),
    path("segments/<str:id>/refresh", segments.SegmentViewSet.as_view(REFRESH)),
    path("segments/<str:id>/sample", segments.SegmentViewSet.as_view({"get": "sample"})),
    *resource("api-keys", api_keys.ApiKeyViewSet, {**LIST, "delete": "revoke"}, api_key_detail),
    *resource("members", members.MemberViewSet, LIST, CHANGE),
    *resource("users", members.MemberViewSet, LIST, CHANGE),
    path("admin/dlq", dead_letters.DeadLetterViewSet.as_view({"get": "list", "post": "act"})),
    path("audit-log", audit.AuditViewSet.as_view(READ_LIST)),
    path("audit-logs", audit.AuditViewSet.as_view(READ_LIST)),
    *resource("categories", catalog.CategoryViewSet, LIST, CHANGE),
    *resource("sub-categories", catalog.SubCategoryViewSet, LIST, CHANGE),
    *resource("offers", catalog.OfferViewSet, LIST, CHANGE),
    *resource("channels", channels.ChannelViewSet, LIST, CHANGE),
    *resource("placements", channels.PlacementViewSet, LIST, CHANGE),
    *resource("creatives", catalog.CreativeViewSet, LIST, CHANGE),
    *resource("qualification-rules", rules.RuleViewSet, LIST, CHANGE),
    *resource("contact-policies", policies.PolicyViewSet, LIST, CHANGE),
    *resource("volume-constraints", volume_constraints.ConstraintViewSet, LIST, CHANGE),
    # Documented under both names.
    *resource("frequency-caps", volume_constraints.ConstraintViewSet, LIST, CHANGE),
    path("interactions", interactions.InteractionViewSet.as_view(LIST)),
]
