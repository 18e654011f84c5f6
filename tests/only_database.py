"""pytest plugin (`-p tests.only_database`): keeps the tests that use the database.

CI runs these a second time, against another PostgreSQL than the embedded one.
"""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, dropped = [], []
    for item in items:
        (kept if uses_database(item) else dropped).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


def uses_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return bool({"db", "transactional_db"} & {*fixtures}) or any(item.iter_markers("django_db"))
