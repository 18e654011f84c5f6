"""Django settings, read from the environment only.

Development needs nothing set. `KAIREON_ENV=production` refuses to start without its secrets.
"""

import logging
import re
from pathlib import Path

import environ
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured

from kaireon import logs

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
# Data, logs and locks of this machine: embedded PostgreSQL, stored files, the drain's lock.
VAR_DIR = Path(env.str("KAIREON_VAR", str(BASE_DIR / "var")))

ENVIRONMENT = env.str("KAIREON_ENV", "development")
if ENVIRONMENT not in ("development", "production"):
    raise ImproperlyConfigured(
        f"KAIREON_ENV is {ENVIRONMENT!r}; set it to 'development' or 'production'."
    )
PRODUCTION = ENVIRONMENT == "production"
DEBUG = False


def secret(name: str) -> str:
    """Return the secret `name`; outside production a fixed, worthless one stands in for it."""
    value: str = env.str(name, "")
    if value:
        return value
    if PRODUCTION:
        raise ImproperlyConfigured(
            f"{name} is not set. Set it to a long random text, for example the output of: "
            'python -c "import secrets; print(secrets.token_urlsafe(64))"'
        )
    return f"development-only-{name}-" + "0" * 50


SECRET_KEY = secret("SECRET_KEY")
API_KEY_PEPPER = secret("API_KEY_PEPPER")

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["*"])
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS is not set. Set it to the host names this site answers, "
        "separated by commas: ALLOWED_HOSTS=kaireon.example.com"
    )
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

DATABASE_URL = env.str("DATABASE_URL", "")
if DATABASE_URL:
    DATABASES = {"default": env.db_url_config(DATABASE_URL)}
    if DATABASES["default"].get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(
            "DATABASE_URL must name a PostgreSQL server: postgresql://user:password@host:5432/name"
        )
    # One connection for each thread, asked before it is used again: docs/adr/0009-connections.md
    DATABASES["default"] |= {
        "ENGINE": "kaireon.database",
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "kaireon.database",
            "NAME": "kaireon",
            "OPTIONS": {"embedded": env.str("KAIREON_PG_DATA", str(VAR_DIR / "pg"))},
        }
    }
REDIS_URL = env.str("REDIS_URL", "")
STORAGE_URL = env.str("STORAGE_URL", (VAR_DIR / "storage").as_uri())
if not re.match("file:///.|s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/|$)", STORAGE_URL):
    raise ImproperlyConfigured("STORAGE_URL must be file:///folder or s3://bucket/folder.")

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "kaireon",
        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# What a run may read besides imported tables: PostgreSQL schemas whose relations may be registered.
KAIREON_SOURCE_SCHEMAS = env.list("KAIREON_SOURCE_SCHEMAS", default=["public"])
# Names and networks that outgoing requests may reach although they are not public.
KAIREON_ALLOWED_PRIVATE_HOSTS = env.list("KAIREON_ALLOWED_PRIVATE_HOSTS", default=[])
KAIREON_CHUNK_ROWS = env.int("KAIREON_CHUNK_ROWS", 98_304)
KAIREON_LEASE_SECONDS = env.int("KAIREON_LEASE_SECONDS", 12)
KAIREON_STATEMENT_SECONDS = env.int("KAIREON_STATEMENT_SECONDS", 60)
if KAIREON_STATEMENT_SECONDS < 1:
    raise ImproperlyConfigured("KAIREON_STATEMENT_SECONDS must be 1 or more, such as 60.")
KAIREON_METRICS_TOKEN = env.str("KAIREON_METRICS_TOKEN", "")
KAIREON_REQUESTS_PER_MINUTE = env.int("KAIREON_REQUESTS_PER_MINUTE", 2000)
if KAIREON_REQUESTS_PER_MINUTE < 1:
    raise ImproperlyConfigured("KAIREON_REQUESTS_PER_MINUTE must be 1 or more, such as 2000.")
KAIREON_INLINE_FALLBACK = env.bool("INLINE_FALLBACK", True)
if KAIREON_CHUNK_ROWS < 1024 or KAIREON_CHUNK_ROWS % 1024:
    raise ImproperlyConfigured("KAIREON_CHUNK_ROWS must be a multiple of 1024, such as 98304.")

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "csp",
    "rest_framework",
    "django_filters",
    "django_celery_beat",
    "simple_history",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "kaireon.access",
    "campaigns",
]

MIDDLEWARE = [
    "kaireon.encoding.utf8",
    "kaireon.request_log.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
]

ROOT_URLCONF = "kaireon.urls"
WSGI_APPLICATION = "kaireon.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not PRODUCTION
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "kaireon.access.authentication.ApiKeyAuthentication",
        "kaireon.access.authentication.MemberAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["kaireon.access.permissions.HasRole"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["campaigns.api.parser.StrictJSONParser"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["kaireon.access.throttle.CallerThrottle"],
    "DEFAULT_THROTTLE_RATES": {"caller": f"{KAIREON_REQUESTS_PER_MINUTE}/min"},
    "DEFAULT_SCHEMA_CLASS": "campaigns.api.openapi.ApiSchema",
    "EXCEPTION_HANDLER": "campaigns.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "kaireon",
    "DESCRIPTION": "Batch next-best-action campaigns: which offer for whom, when, and how often.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "LICENSE": {"name": "Apache-2.0"},
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "ContactPolicyScopeEnum": "campaigns.models.policy.ContactPolicy.Scope",
        "ContactPolicyTypeEnum": "campaigns.models.policy.ContactPolicy.RuleType",
        "DeadLetterActionEnum": ["retry", "purge"],
        "ExplainedOutcomeEnum": "campaigns.api.explanations.OUTCOMES",
        "EntityTypeEnum": "campaigns.models.schema.Schema.EntityType",
        "QualificationRuleScopeEnum": "campaigns.models.rule.QualificationRule.Scope",
        "QualificationRuleTypeEnum": "campaigns.models.rule.QualificationRule.RuleType",
        "StatusEnum": "campaigns.models.status.Status",
        "VolumeConstraintScopeEnum": "campaigns.models.volume_constraint.VolumeConstraint.Scope",
        "RunStatusEnum": "campaigns.models.run.CampaignRun.Status",
    },
    "DEFAULT_QUERY_MANAGER": "_default_manager",
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # a test checks the description, and that it is current
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "campaigns.api.openapi.close_requests",
        "campaigns.api.openapi.add_failures",
    ],
}

# Only the broker address is configurable: results live in PostgreSQL, so there is no backend.
CELERY_BROKER_URL = REDIS_URL or None
CELERY_TASK_IGNORE_RESULT = True
# A message may come twice, or after its worker was taken for dead: leases and fencing tokens in
# the database make that harmless, so tasks are not stopped when the connection is lost.
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_TIMEZONE = "UTC"
# Publishing is tried once, for a second at most: the run is in the database already. Workers and
# beat try for ever to reach a broker that is gone.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_POOL_LIMIT = 64  # no thread waits for another's connection
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 0.5
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 1,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "max_retries": 0,
    "interval_start": 0,
    "visibility_timeout": 3600,
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "kaireon.beat:Scheduler"

SECURE_HTTPS = env.bool("SECURE_HTTPS", PRODUCTION)
SECURE_SSL_REDIRECT = SECURE_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HTTPS
SECURE_HSTS_PRELOAD = SECURE_HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_HTTPS
if env.bool("TRUST_X_FORWARDED_PROTO", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],  # the admin theme's Alpine evaluates its attributes
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "frame-ancestors": [NONE],
    }
}

UNFOLD = {"SITE_TITLE": "kaireon", "SITE_HEADER": "kaireon", "SITE_SYMBOL": "campaign"}

LOG_FORMAT = env.str("LOG_FORMAT", "json" if PRODUCTION else "console")
if LOG_FORMAT not in ("console", "json"):
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}; set it to 'console' or 'json'.")
LOGGING = logs.configuration(LOG_FORMAT, env.str("LOG_LEVEL", "INFO"))
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # RequestLog has looked at it
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_USER_ID_FIELD = ""  # it would be looked up; logs.add_caller says what is known
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
