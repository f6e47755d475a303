"""Events of dbt reach Dagster although dbt fails; the private members of dagster-dbt that are overridden exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dagster import AssetCheckResult, AssetExecutionContext, Output
from dagster_dbt import DbtCliInvocation, DbtCliResource
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from acl_assets.settings import Settings
from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.dbt_events import described_events
from acl_assets.warehouse.duckdb_engine import DuckDBEngine

MANIFEST = {
    "nodes": {
        "model.bands": {"schema": "star_schema", "alias": "dim_bands"},
        "test.bands": {"schema": "audit", "alias": "bands_have_names"},
    }
}
BUILT = Output(None, output_name="dim_bands", metadata={"unique_id": "model.bands"})
FAILED = AssetCheckResult(passed=False, check_name="bands_have_names", metadata={"unique_id": "test.bands"})


class FailedDbt:
    """A dbt process that yields some events and fails."""

    target_path = Path()

    def __init__(self, *events: Output[Any] | AssetCheckResult) -> None:
        self.events = events

    def stream(self) -> Iterator[Output[Any] | AssetCheckResult]:
        yield from self.events
        raise DagsterDbtCliRuntimeError("dbt says why it failed")


class GoneEngine(DuckDBEngine):
    """An engine that keeps its results elsewhere and has stopped."""

    calls: list[tuple[Sequence[str], Sequence[str]]]

    def copy_results(
        self, manifest: Mapping[str, Any], target_path: Path, models: Sequence[str], stores: Sequence[str]
    ) -> Mapping[str, int]:
        self.calls.append((models, stores))
        raise BuildError("the engine is gone")


@pytest.mark.parametrize(
    ("said", "copied", "yielded", "warnings"),
    [
        ([], [], [], 0),
        ([BUILT, FAILED], [(["model.bands"], ["audit.bands_have_names"])], ["bands_have_names"], 1),
    ],
    ids=["nothing was built, so nothing is copied", "failed checks are shown and models are not called built"],
)
def test_error_of_the_copy_does_not_hide_that_of_dbt(
    settings: Settings, said: list[Any], copied: list[Any], yielded: list[str], warnings: int
) -> None:
    log: list[str] = []
    context = cast(AssetExecutionContext, SimpleNamespace(log=SimpleNamespace(warning=log.append)))
    engine = GoneEngine(settings)
    engine.calls = []
    events: list[Any] = []
    with pytest.raises(DagsterDbtCliRuntimeError, match="dbt says why it failed"):
        events.extend(described_events(context, engine, MANIFEST, cast(DbtCliInvocation, FailedDbt(*said))))
    assert [event.check_name for event in events] == yielded
    assert engine.calls == copied
    assert log == ["What dbt had built when it failed was not copied from duckdb: the engine is gone"] * warnings


@pytest.mark.parametrize("member", ["_cli_version", "_initialize_dbt_core_adapter"])
def test_private_members_of_dagster_dbt_exist(member: str) -> None:
    assert hasattr(DbtCliResource, member), (
        f"DbtCliResource.{member} is gone from dagster-dbt, so LeanDbtCliResource overrides nothing: a refresh starts "
        "dbt once more and loads its adapter. Find the new name, or delete the override."
    )
