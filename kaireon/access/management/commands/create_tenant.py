"""Make a tenant."""

from argparse import ArgumentParser
from typing import Any
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from kaireon.access.models import Tenant


class Command(BaseCommand):
    help = "Make a tenant. Fails, changing nothing, if there is one with this slug."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="short name in addresses: a-z, 0-9, hyphen, underscore")
        parser.add_argument("--name", help="name for people (default: the slug)")
        parser.add_argument("--timezone", default="UTC", help="IANA time zone (default: UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        slug, zone = options["slug"], options["timezone"]
        if zone not in available_timezones():
            raise CommandError(f"{zone!r} is not an IANA time zone, such as Europe/Berlin.")
        tenant = Tenant(slug=slug, name=options["name"] or slug, timezone=zone)
        try:
            tenant.full_clean()
        except ValidationError as error:
            faults = [f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items()]
            raise CommandError(f"No tenant was made. {' '.join(faults)}") from error
        tenant.save()
        self.stdout.write(f"Tenant {slug} made.")
