"""A landing zone of the test's own."""

from pathlib import Path

import pytest
from landing_zones import FolderZone


@pytest.fixture
def zone(tmp_path: Path) -> FolderZone:
    return FolderZone(tmp_path / "exports")
