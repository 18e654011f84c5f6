"""How numbers, times and small tables are shown."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import template_localtime

NONE = "-"
LINK = '<a href="{}" class="font-medium text-primary-600 dark:text-primary-500">{}</a>'


def number(value: float | None) -> str:
    return NONE if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} %"


def duration(seconds: float | None) -> str:
    """Seconds as "0.84 s", "12 s", "3 min 05 s" or "2 h 07 min"."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def moment(at: datetime | None) -> str:
    return NONE if at is None else str(localize(template_localtime(at)))


def size(count: int) -> str:
    """Bytes as "312 B", "4.2 kB" or "17.3 MB"."""
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count} B"


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return render_to_string(
        "unfold/components/table.html", {"table": {"headers": headers, "rows": list(rows)}}
    )


def label(text: str, kind: str) -> str:
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": kind})


def link(address: str, text: str) -> SafeString:
    return format_html(LINK, address, text)
