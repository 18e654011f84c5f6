"""Every address under /api/v1/, as documented: without a trailing slash."""

from typing import Any

from django.urls import URLPattern, path

from campaigns.api import audiences, catalog, flows, rules, views
from campaigns.api.viewsets import TenantViewSet

Actions = dict[str, Any]

LIST: Actions = {"get": "list", "post": "create"}
READ_LIST: Actions = {"get": "list"}
DETAIL: Actions = {"get": "retrieve"}
CHANGE: Actions = {**DETAIL, "put": "update", "patch": "update", "delete": "destroy"}


def resource(name: str, view: type[TenantViewSet], actions: Actions) -> list[URLPattern]:
    return [path(name, view.as_view(actions)), path(f"{name}/<str:id>", view.as_view(DETAIL))]


campaign_detail = views.CampaignViewSet.as_view(
    {"get": "retrieve", "put": "update", "patch": "update"}
)
history = views.HistoryViewSet.as_view({"get": "list", "post": "trigger"})
run_detail = views.CampaignRunViewSet.as_view(DETAIL)
only_file = views.RunFileViewSet.as_view({"get": "only_file"})
download = views.RunFileViewSet.as_view({"get": "download"})
publish = flows.FlowViewSet.as_view({"post": "publish"})

urlpatterns = [
    path("runs", views.CampaignViewSet.as_view(LIST)),
    path("runs/<str:id>", campaign_detail),
    path("runs/<str:id>/campaign-runs", history),
    path("campaign-runs/<str:id>", run_detail),
    path("campaign-runs/<str:id>/file", only_file),
    path("campaign-runs/<str:id>/files/<str:file>/download", download, name="run-file-download"),
    path("decision-flows/publish", publish),
    *resource("schemas", audiences.SchemaViewSet, READ_LIST),
    *resource("segments", audiences.SegmentViewSet, LIST),
    *resource("decision-flows", flows.FlowViewSet, LIST),
    *resource("categories", catalog.CategoryViewSet, LIST),
    *resource("offers", catalog.OfferViewSet, LIST),
    *resource("channels", catalog.ChannelViewSet, LIST),
    *resource("creatives", catalog.CreativeViewSet, LIST),
    *resource("qualification-rules", rules.RuleViewSet, LIST),
]
