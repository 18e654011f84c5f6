"""Admin pages of tenants, their people and their API keys."""

from kaireon.access.admin import api_key, tenant, user

__all__ = ["api_key", "tenant", "user"]
