"""Make an API key and print it, the only time it can be read."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from kaireon.access.models import ApiKey, Role, Tenant

MAX_DAYS = 36_500


class Command(BaseCommand):
    help = "Make an API key. Prints the key alone on stdout; it cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--role", required=True, choices=Role.values)
        parser.add_argument("--name", default="command line", help="what the key is for")
        parser.add_argument("--expires-days", type=int, metavar="N", help="default: never")

    def handle(self, *args: Any, **options: Any) -> None:
        slug, days = options["tenant"], options["expires_days"]
        tenant = Tenant.objects.filter(slug=slug).first()
        if tenant is None:
            raise CommandError(
                f"There is no tenant {slug!r}. Make it with: manage.py create_tenant {slug}"
            )
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--expires-days must be from 1 to {MAX_DAYS}.")
        if not 1 <= len(options["name"]) <= 100:
            raise CommandError("--name must have from 1 to 100 characters.")
        expires_at = timezone.now() + timedelta(days=days) if days else None
        role = Role(options["role"])
        _, text = ApiKey.issue(tenant, name=options["name"], role=role, expires_at=expires_at)
        self.stderr.write(f"Key of role {role} for tenant {slug}; keep it, it is shown only once:")
        self.stdout.write(text)
