"""Make a schema of a table or view that exists."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.management.tenants import chosen_tenant
from campaigns.services.errors import Conflict
from campaigns.services.schemas import register_table
from executor.errors import Rejected


class Command(BaseCommand):
    help = "Make a schema of an existing table or view, which kaireon only ever reads."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("relation", metavar="SCHEMA.TABLE")
        parser.add_argument("--schema", required=True, metavar="NAME", help="name in kaireon")
        parser.add_argument("--key", required=True, metavar="COLUMN", help="the unique column")
        parser.add_argument("--tenant", metavar="SLUG", help="needed if there is more than one")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = chosen_tenant(options["tenant"])
        try:
            registration = register_table(
                tenant, options["relation"], name=options["schema"], key=options["key"]
            )
        except (Rejected, Conflict) as error:
            raise CommandError(f"Nothing was registered. {error}") from error
        for warning in registration.warnings:
            self.stderr.write(f"Warning: {warning}")
        schema = registration.schema
        self.stdout.write(
            f'Registered {options["relation"]} as "{schema.name}" ({schema.public_id}):'
            f" {schema.row_count:,} rows, {len(schema.columns)} columns, key {schema.key_column}."
        )
