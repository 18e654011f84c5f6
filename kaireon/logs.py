"""Log lines with named values, as text for people or as JSON for machines.

The lines of structlog and of the standard library come out alike, each with time, level, logger,
and what is bound: the request, who asks, the run that is worked on. Values of variables are never
part of a traceback, as they may be secrets.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

if TYPE_CHECKING:
    from django.http import HttpRequest

#: The request that is being answered. Who asks is known only once the view has found out.
answering: ContextVar["HttpRequest | None"] = ContextVar("answering", default=None)


def bound(**values: Any) -> AbstractContextManager[None]:
    """Put the values on every line of this thread while the block lasts: `bound(run="crun_…")`.

    A thread that is started inside begins without them.
    """
    return structlog.contextvars.bound_contextvars(**values)


def add_caller(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Say who asks, as far as that was found out; never looks it up."""
    request = answering.get()
    if request is None:
        return line
    user = getattr(request, "_cached_user", None)
    if user is not None and user.pk is not None:
        line["user"] = user.pk
    access = getattr(request, "auth", None)
    if access is not None:
        line["tenant"] = access.tenant.slug
        if access.api_key is not None:
            line["api_key"] = access.api_key.public_part
    return line


#: What happens to every line, whoever wrote it.
SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    add_caller,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configuration(form: str, level: str) -> Mapping[str, Any]:
    """Prepare structlog and return Django's LOGGING: standard error, as `console` or `json`."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    line = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(form),
        ],
        "foreign_pre_chain": SHARED,
    }
    # gunicorn brings handlers of its own, which know no format of ours; what Django says of
    # requests that failed is in the line of the request.
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": line},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "gunicorn.error": {"handlers": [], "propagate": True},
            "django.request": {"level": "CRITICAL"},
        },
    }


def _renderers(form: str) -> list[Processor]:
    if form == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]
