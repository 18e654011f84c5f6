"""Who may do what: tenants, memberships, API keys."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "kaireon.access"
    label = "access"
    verbose_name = "Access"
