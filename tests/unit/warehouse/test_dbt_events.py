"""Events of dbt reach Dagster although dbt fails; the private members of dagster-dbt that are overridden exist."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dagster import AssetCheckResult, AssetExecutionContext, AssetKey, Failure, Output
from dagster_dbt import DbtCliInvocation, DbtCliResource
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from acl_assets.settings import Settings
from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.dbt_events import described_events
from acl_assets.warehouse.engine import DuckDBEngine

MANIFEST = {
    "nodes": {
        "model.bands": {
            "schema": "star_schema",
            "alias": "dim_bands",
            "package_name": "shop",
            "original_file_path": "bands.sql",
        },
        "test.bands": {"schema": "audit", "alias": "bands_have_names"},
    }
}


def failing_dbt() -> Iterator[Output[Any] | AssetCheckResult]:
    """The events of a dbt process that builds a model, finds a failing row and fails."""
    yield Output(None, output_name="dim_bands", metadata={"unique_id": "model.bands"})
    yield AssetCheckResult(
        passed=False,
        asset_key=AssetKey(["star_schema", "dim_bands"]),
        check_name="bands_have_names",
        metadata={"unique_id": "test.bands", "dagster_dbt/failed_row_count": 7},
    )
    raise DagsterDbtCliRuntimeError("dbt says \x1b[31mwhy\x1b[0m it failed")


class GoneEngine(DuckDBEngine):
    """An engine that keeps its results elsewhere and has stopped."""

    def copy_results(self, *arguments: object) -> Any:
        raise BuildError("the engine is gone")


def test_failure_links_to_the_failed_checks_also_when_the_results_cannot_be_copied(settings: Settings) -> None:
    """People look for the rows that failed; dbt's message names files of compiled SQL, in colours.

    Models that cannot be copied are not called built.
    """
    log: list[str] = []
    context = cast(AssetExecutionContext, SimpleNamespace(log=SimpleNamespace(warning=log.append)))
    invocation = cast(
        DbtCliInvocation, SimpleNamespace(stream=failing_dbt, target_path=Path(), dagster_dbt_translator=None)
    )
    settings = settings.with_changes(dagster_url="https://dagster.example.org/")
    events: list[Any] = []
    with pytest.raises(Failure, match="dbt says why it failed") as raised:
        events.extend(described_events(context, GoneEngine(settings), MANIFEST, invocation))
    assert [event.check_name for event in events] == ["bands_have_names"]
    assert log == ["What dbt had built when it failed was not copied from duckdb: the engine is gone"]
    assert "star_schema/dim_bands: bands_have_names (failing rows: 7)" in str(raised.value.description)
    assert {name: link.value for name, link in raised.value.metadata.items()} == {
        "star_schema/dim_bands: bands_have_names (failing rows: 7)": "https://dagster.example.org/assets/star_schema/dim_bands"
        "?view=checks&checkDetail=bands_have_names"
    }


@pytest.mark.parametrize("member", ["_cli_version", "_initialize_dbt_core_adapter"])
def test_private_members_of_dagster_dbt_exist(member: str) -> None:
    assert hasattr(DbtCliResource, member), (
        f"DbtCliResource.{member} is gone from dagster-dbt, so LeanDbtCliResource overrides nothing: a refresh starts "
        "dbt once more and loads its adapter. Find the new name, or delete the override."
    )
