"""Bundles of dashboards for tests to compare and change."""

import shutil
from pathlib import Path

import pytest

from acl_assets.superset.bundle import BUNDLE_DIR, Bundle
from acl_assets.superset.export import as_yaml


def texts(bundle: Bundle) -> dict[str, str]:
    """Return the text of every file of a bundle by its path."""
    return {document.path: as_yaml(document) for document in bundle.documents}


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    """A copy of the repository's bundle, to be changed."""
    return Path(shutil.copytree(BUNDLE_DIR, tmp_path / "bundle"))
