"""Prints the plan a flow compiles to, or the JSON Schema of flow definitions."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns.models import Flow, Schema, Segment
from executor.errors import Rejected
from executor.flow.nodes import definition_schema
from executor.flow.printed import plan_text
from executor.flow.types import Kind
from executor.planning import plan_now
from executor.spec import segment_kinds
from kaireon.access.models import Tenant


class Command(BaseCommand):
    help = "Print the compiled plan of a flow: its candidates, rules and scores."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # --version is the flow's here, not Django's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("flow", nargs="?", metavar="FLOW_KEY")
        parser.add_argument("--tenant", metavar="SLUG")
        customers = parser.add_mutually_exclusive_group()
        customers.add_argument("--segment", metavar="NAME", help="whose columns the flow reads")
        customers.add_argument("--schema", metavar="NAME", help="the same, for a whole schema")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--version", metavar="N", type=int, dest="flow_version")
        which.add_argument("--draft", action="store_true", help="the draft, published or not")
        parser.add_argument(
            "--json-schema", action="store_true", help="print the JSON Schema of definitions"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["json_schema"]:
            self.stdout.write(json.dumps(definition_schema(), indent=2))
            return
        if not options["flow"] or not options["tenant"]:
            raise CommandError("name a flow and its tenant: explain_flow FLOW_KEY --tenant SLUG")
        tenant = find_tenant(options["tenant"])
        flow = find_flow(tenant, options["flow"])
        name, config = choose_config(flow, options["flow_version"], options["draft"])
        try:
            kinds, base = customer_columns(tenant, options["segment"], options["schema"])
            plan = plan_now(tenant, config, kinds, base)
        except Rejected as error:
            faults = [f"{path}: {text}" if path else text for path, text in error.errors]
            raise CommandError("\n".join([f"{name} cannot run:", *faults])) from error
        self.stdout.write(f"{name}: {plan_text(plan)}")


def find_tenant(slug: str) -> Tenant:
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        known = ", ".join(Tenant.objects.values_list("slug", flat=True)) or "none"
        raise CommandError(f'there is no tenant "{slug}"; there are: {known}')
    return tenant


def find_flow(tenant: Tenant, key: str) -> Flow:
    flow: Flow | None = Flow.objects.of(tenant).filter(key=key).first()
    if flow is None:
        known = ", ".join(Flow.objects.of(tenant).values_list("key", flat=True)) or "none"
        raise CommandError(f'there is no flow "{key}"; there are: {known}')
    return flow


def choose_config(flow: Flow, number: int | None, is_draft: bool) -> tuple[str, dict[str, Any]]:
    """The version asked for, else the newest published one, else the draft; with its name."""
    versions = flow.versions.order_by("-version")
    version = versions.first() if number is None else versions.filter(version=number).first()
    if number is not None and version is None:
        known = ", ".join(str(each.version) for each in versions) or "none"
        raise CommandError(f'flow "{flow.key}" has no version {number}; it has: {known}')
    if is_draft or version is None:
        return f"Draft of {flow.key}", flow.draft_config
    return f"{flow.key} version {version.version}", version.config


def customer_columns(
    tenant: Tenant, segment: str | None, schema: str | None
) -> tuple[Mapping[str, Kind], Schema]:
    """Columns of the segment, of the schema or of the tenant's only customer schema; the schema."""
    if segment is not None:
        view = Segment.objects.of(tenant).filter(name=segment).first()
        if view is None:
            raise CommandError(f'there is no segment "{segment}"')
        return segment_kinds(view), view.base_schema
    schemas = Schema.objects.of(tenant)
    found = list(schemas.filter(name=schema) if schema else schemas.filter(entity_type="customer"))
    if len(found) != 1:
        known = ", ".join(schemas.values_list("name", flat=True)) or "none"
        raise CommandError(f"choose customers by --segment or --schema; schemas: {known}")
    columns = found[0].columns
    kinds = {column["name"]: Kind(column["kind"]) for column in columns if column["kind"]}
    return kinds, found[0]
