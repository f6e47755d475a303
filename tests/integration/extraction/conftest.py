"""A ticketing database that can be extracted from."""

import pytest
from extracts import make_export_role

from acl_assets.settings import Settings


@pytest.fixture
def export_dsn(ticketing_dsn: str) -> str:
    """The export role's DSN of a ticketing database of the test's own, with a small history."""
    return make_export_role(ticketing_dsn)


@pytest.fixture
def extractable(settings: Settings, export_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation without data, with a ticketing database that is read in slices, without a limit of rate."""
    monkeypatch.setattr("acl_assets.extraction.connection._PAGES_PER_SLICE", 4)
    return settings.with_changes(ticketing_dsn=export_dsn, extract_mb_per_s=0.0)
