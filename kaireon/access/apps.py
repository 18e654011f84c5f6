"""Who may do what: tenants, memberships, API keys."""

from django.apps import AppConfig
from django.core import checks

from kaireon.checks import broker_keeps_messages, storage_is_shared


class AccessConfig(AppConfig):
    name = "kaireon.access"
    label = "access"
    verbose_name = "Access"

    def ready(self) -> None:
        checks.register(storage_is_shared)
        checks.register(broker_keeps_messages)
