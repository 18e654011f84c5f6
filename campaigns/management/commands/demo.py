"""`manage.py demo`: a made-up bank runs a campaign from customer table to file."""

import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from campaigns.management.demo.bank import build_bank
from campaigns.management.demo.customers import make_customers
from campaigns.management.demo.report import print_summary
from campaigns.management.progress import progress_bar
from campaigns.models import CampaignRun, RunFile
from campaigns.services.runs import request_run
from executor import drain
from executor.storage import open_storage
from kaireon.access.models import Membership, Role, Tenant

ADMIN = "demo"
ROWS_SHOWN = 5


class Command(BaseCommand):
    help = "Make a bank with customers and offers, run its weekly campaign, show what came out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--customers", type=int, default=100_000)

    def handle(self, *_: Any, customers: int, **__: Any) -> None:
        if not 1 <= customers <= 20_000_000:
            raise CommandError("--customers must be between 1 and 20000000")
        console = Console()
        call_command("migrate", verbosity=0)
        folder = settings.VAR_DIR / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        console.print(f"Making {customers:,} customers and importing them …")
        source = folder / "customers.csv"
        make_customers(customers).write_csv(source)
        bank = build_bank(source)
        password = _admin_password(bank.tenant)

        console.print(f'Running "{bank.campaign}" for the segment "{bank.campaign.segment}" …')
        run = request_run(bank.campaign, dispatch=False)
        with progress_bar(show=True) as watch:
            drain.wait_for(run.pk, watch)
        run.refresh_from_db()
        if run.status != CampaignRun.Status.COMPLETED:
            raise CommandError(f"the run ended as {run.status}: {run.error}")
        print_summary(console, run)
        self._show_file(console, run, folder)
        console.print(
            "Look around: [bold]make serve[/bold], then http://127.0.0.1:8000/admin/ "
            f"as [bold]{ADMIN}[/bold] with the password [bold]{password}[/bold]"
        )

    def _show_file(self, console: Console, run: CampaignRun, folder: Path) -> None:
        file = RunFile.objects.of(run.tenant_id).get(run=run)
        path = folder / file.name
        with path.open("wb") as copy:
            copy.writelines(open_storage().stream(file.storage_key))
        console.print(f"\nThe file, {file.row_count:,} recommendations: {path}")
        with path.open(encoding="utf-8") as lines:
            for _, line in zip(range(ROWS_SHOWN + 1), lines, strict=False):
                console.print(f"  {line.rstrip()}", markup=False, highlight=False)
        console.print(f"  … and {max(file.row_count - ROWS_SHOWN, 0):,} more\n")


def _admin_password(tenant: Tenant) -> str:
    """Make the bank's administrator, or give it a new password: the old one is not known."""
    password = secrets.token_urlsafe(9)
    user, _ = get_user_model().objects.get_or_create(
        username=ADMIN, defaults={"is_staff": True, "email": "demo@example.com"}
    )
    user.set_password(password)
    user.is_staff = True
    user.save()
    Membership.objects.update_or_create(user=user, tenant=tenant, defaults={"role": Role.ADMIN})
    return password
