"""Count segments anew."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.management.tenants import chosen_tenant
from campaigns.models import Segment
from campaigns.services.errors import Conflict
from campaigns.services.segments import refresh_segment
from executor.errors import Rejected
from kaireon import ids
from kaireon.access.models import Tenant


class Command(BaseCommand):
    help = "Count segments anew and restore views that are gone; all segments if none is named."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("segments", nargs="*", metavar="SEGMENT", help="id (seg_…)")
        parser.add_argument("--tenant", metavar="SLUG", help="needed if there is more than one")

    def handle(self, *_: Any, **options: Any) -> None:
        failed = 0
        for segment in _chosen(chosen_tenant(options["tenant"]), options["segments"]):
            try:
                count = refresh_segment(segment)
            except (Rejected, Conflict) as error:
                failed += 1
                self.stderr.write(f"{segment.public_id} {segment}: {error}")
            else:
                self.stdout.write(f"{segment.public_id} {segment}: {count:,} customers")
        if failed:
            raise CommandError(f"{failed} segments could not be refreshed.")


def _chosen(tenant: Tenant, public_ids: list[str]) -> list[Segment]:
    rows = Segment.objects.of(tenant)
    if not public_ids:
        return list(rows.order_by("name"))
    found = [rows.filter(pk=ids.decode("Segment", public_id)).first() for public_id in public_ids]
    for public_id, segment in zip(public_ids, found, strict=True):
        if segment is None:
            raise CommandError(f"There is no segment {public_id}.")
    return [segment for segment in found if segment is not None]
