"""dagster-dbt is imported without the dbt it would load, which a run has no use for beside the dbt process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from acl_assets.warehouse.hidden_package import hidden_package


def test_the_definitions_load_nothing_of_dbt() -> None:
    """dbt's own modules would take 80 MB of every run, and most of a second."""
    script = "import sys, acl_assets.definitions; print([name for name in sys.modules if name.split('.')[0] == 'dbt'])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_a_hidden_package_can_be_imported_afterwards() -> None:
    """Only the import inside must do without it: an error there must not hide it for good either."""
    script = (
        "from acl_assets.warehouse.hidden_package import hidden_package\n"
        "try:\n    with hidden_package('colorsys'):\n        import colorsys\n"
        "except ImportError:\n    import colorsys; print(colorsys.__name__)"
    )
    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == "colorsys"


def test_a_package_that_is_loaded_already_stays() -> None:
    """Whoever uses it holds on to it, and must not find a second one later."""
    with hidden_package("pytest"):
        assert sys.modules["pytest"] is pytest
    assert sys.modules["pytest"] is pytest
