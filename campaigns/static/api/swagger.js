/* Starts Swagger UI; a file of its own, because the page may not have inline scripts. */
"use strict";

const place = document.getElementById("swagger-ui");

/* A signed-in reader tries requests with the session, which needs the CSRF token. */
function withCsrfToken(request) {
  const cookie = document.cookie.split("; ").find((part) => part.startsWith("csrftoken="));
  if (cookie && !["GET", "HEAD", "OPTIONS"].includes(request.method)) {
    request.headers["X-CSRFToken"] = cookie.slice("csrftoken=".length);
  }
  return request;
}

SwaggerUIBundle({
  url: place.dataset.openapi,
  domNode: place,
  deepLinking: true,
  docExpansion: "none",
  persistAuthorization: false,
  requestInterceptor: withCsrfToken,
});
