"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from kaireon import health, metrics

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("campaigns.api.urls")),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics.metrics),
]

handler400 = "campaigns.api.errors.bad_request"
handler404 = "campaigns.api.errors.page_not_found"
handler500 = "campaigns.api.errors.server_error"
