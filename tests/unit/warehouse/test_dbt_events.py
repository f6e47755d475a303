"""Events of dbt reach Dagster although dbt fails; the private members of dagster-dbt that are overridden exist."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dagster import AssetCheckResult, AssetExecutionContext, AssetKey, Failure, Output
from dagster_dbt import DbtCliInvocation, DbtCliResource
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from acl_assets.settings import Settings
from acl_assets.warehouse import dbt_events
from acl_assets.warehouse.build_file import BuildError
from acl_assets.warehouse.dbt_events import described_events
from acl_assets.warehouse.engine import DuckDBEngine

MANIFEST = {
    "nodes": {
        "model.bands": {"schema": "star_schema", "alias": "dim_bands"},
        "test.bands": {"schema": "audit", "alias": "bands_have_names"},
    }
}


def failing_dbt() -> Iterator[Output[Any] | AssetCheckResult]:
    """The events of a dbt process that builds a model, finds failing rows twice and fails."""
    yield Output(None, output_name="dim_bands", metadata={"unique_id": "model.bands"})
    for name in ("bands_have_names", "bands_have_fees"):
        yield AssetCheckResult(
            passed=False,
            asset_key=AssetKey(["star_schema", "dim_bands"]),
            check_name=name,
            metadata={"unique_id": "test.bands", "dagster_dbt/failed_row_count": 7},
        )
    raise DagsterDbtCliRuntimeError(
        "The command failed.\n\nErrors parsed from dbt logs:\n\n"
        "8 of 9 FAIL 7 bands_have_names .. [FAIL 7 in 0.47s]\n\ndbt says why it failed"
    )


class GoneEngine(DuckDBEngine):
    """An engine that keeps its results elsewhere and has stopped."""

    def copy_results(self, *arguments: object) -> Any:
        raise BuildError("the engine is gone")


def test_failure_links_to_the_failed_checks_also_when_the_results_cannot_be_copied(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People look for the rows that failed; dbt's message names files of compiled SQL.

    Models that cannot be copied are not called built. The text is the same when the run fails again.
    """
    monkeypatch.setattr(dbt_events, "lineage_of_model", lambda *_: {})
    log: list[str] = []
    context = cast(AssetExecutionContext, SimpleNamespace(log=SimpleNamespace(warning=log.append)))
    invocation = cast(
        DbtCliInvocation, SimpleNamespace(stream=failing_dbt, target_path=Path(), dagster_dbt_translator=None)
    )
    settings = settings.with_changes(dagster_url="https://dagster.example.org/")
    events: list[Any] = []
    with pytest.raises(Failure) as raised:
        events.extend(described_events(context, GoneEngine(settings), MANIFEST, invocation))
    assert [event.check_name for event in events] == ["bands_have_names", "bands_have_fees"]
    assert log == ["What dbt had built when it failed was not copied from duckdb: the engine is gone"]
    names = [f"star_schema/dim_bands: {name} (failing rows: 7)" for name in ("bands_have_fees", "bands_have_names")]
    assert raised.value.description == (
        f"Blocking checks failed: {', '.join(names)}. The links below lead to their failing rows. Correct the export "
        "or the models and refresh again.\n\ndbt says why it failed"
    )
    page = "https://dagster.example.org/assets/star_schema/dim_bands?view=checks&checkDetail="
    assert {name: link.value for name, link in raised.value.metadata.items()} == {
        names[0]: f"{page}bands_have_fees",
        names[1]: f"{page}bands_have_names",
    }


def test_failure_says_what_to_do_when_dbt_was_killed(settings: Settings) -> None:
    """As the kernel does when memory is short; dbt's own output has no reason then."""

    def killed_dbt() -> Iterator[Output[Any]]:
        yield from ()
        raise DagsterDbtCliRuntimeError("The dbt CLI process with command\n\n`dbt`\n\nfailed with exit code `-9`.")

    invocation = cast(DbtCliInvocation, SimpleNamespace(stream=killed_dbt))
    context = cast(AssetExecutionContext, None)
    with pytest.raises(Failure, match="dbt was killed"):
        list(described_events(context, DuckDBEngine(settings), MANIFEST, invocation))


@pytest.mark.parametrize("member", ["_cli_version", "_initialize_dbt_core_adapter"])
def test_private_members_of_dagster_dbt_exist(member: str) -> None:
    assert hasattr(DbtCliResource, member), (
        f"DbtCliResource.{member} is gone from dagster-dbt, so LeanDbtCliResource overrides nothing: a refresh starts "
        "dbt once more and loads its adapter. Find the new name, or delete the override."
    )
