"""Customers in: files become tables of the PostgreSQL schema `data`, registered as schemas."""

from campaigns.services.imports.columns import parse_types
from campaigns.services.imports.importing import ImportResult, Mode, import_customers
from campaigns.services.imports.plan import ImportOptions
from campaigns.services.imports.rows import add_rows

__all__ = ["ImportOptions", "ImportResult", "Mode", "add_rows", "import_customers", "parse_types"]
