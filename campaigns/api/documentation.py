"""The API's description and its two readers, from files of this server alone."""

from functools import cache
from pathlib import Path

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_safe

OPENAPI = Path(__file__).with_name("openapi.json")
ASSETS = "drf_spectacular_sidecar"
ICON = f"{ASSETS}/swagger-ui-dist/favicon-32x32.png"


@cache
def description() -> bytes:
    return OPENAPI.read_bytes()


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """The file of the repository: building it for each request is slow and not thread-safe."""
    return HttpResponse(description(), content_type="application/json")


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    assets = f"{ASSETS}/swagger-ui-dist"
    return render(
        request,
        "api/swagger.html",
        {
            "style": static(f"{assets}/swagger-ui.css"),
            "icon": static(ICON),
            "scripts": [
                static(f"{assets}/swagger-ui-bundle.js"),
                static("api/swagger.js"),
            ],
            "openapi": reverse("openapi"),
        },
    )


@csp_update({"worker-src": ["blob:"]})
@require_safe
def redoc(request: HttpRequest) -> HttpResponse:
    assets = {
        "icon": static(ICON),
        "script": static(f"{ASSETS}/redoc/bundles/redoc.standalone.js"),
    }
    return render(request, "api/redoc.html", {**assets, "openapi": reverse("openapi")})
