"""dbt's events with row counts, column lineage, previews and failing rows, which are read from the build file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    Failure,
    MetadataValue,
    Output,
    TableColumnDep,
    TableColumnLineage,
    TableMetadataValue,
)

from acl_assets.asset_keys import COLUMN_LINEAGE_METADATA, DATA_PRODUCTS_PREFIX, ROW_COUNT_METADATA, STAR_SCHEMA_PREFIX
from acl_assets.util.metadata_tables import metadata_table
from acl_assets.util.runs import selected_assets
from acl_assets.warehouse.build_file import row_counts
from acl_assets.warehouse.column_lineage import lineage_of_model
from acl_assets.warehouse.engine import Engine
from acl_assets.warehouse.lean_dagster_dbt import DagsterDbtCliRuntimeError, DbtCliInvocation
from acl_assets.warehouse.project import relation_name

_SHOWN_ROWS = 10
_PREVIEWED = (f"{DATA_PRODUCTS_PREFIX}.", f"{STAR_SCHEMA_PREFIX}.dim_")
# dbt's lines of progress, such as "8 of 9 ERROR creating ... in 0.47s", differ in runs that fail for the same reason.
_PROGRESS = re.compile(r"^\d+ of \d+ .*\n+", re.MULTILINE)
DbtEvent = Output[Any] | AssetMaterialization | AssetObservation | AssetCheckResult | AssetCheckEvaluation


def described_events(
    context: AssetExecutionContext, engine: Engine, manifest: Mapping[str, Any], invocation: DbtCliInvocation
) -> Iterator[DbtEvent]:
    """Yield dbt's events; models and failed checks follow when dbt has ended and its file can be read.

    If dbt failed and its results cannot be copied, only the failed checks follow.

    Raises:
        Failure: dbt failed; it names the failed checks, with links to them, and what dbt reported.
    """
    outputs: list[Output[Any]] = []
    failed: list[AssetCheckResult] = []
    error: DagsterDbtCliRuntimeError | None = None
    results = _Results(context, engine, manifest, invocation)
    try:
        for event in invocation.stream():
            if isinstance(event, Output):
                # dbt runs in another process and builds the next models at the same time.
                outputs.append(results.with_lineage(event))
            elif isinstance(event, AssetCheckResult) and not event.passed:
                failed.append(event)
            else:
                yield event
    except DagsterDbtCliRuntimeError as raised:
        error = raised
    try:
        left_out = results.copy(outputs, failed) if outputs or failed else {}
    except Exception as copy_error:
        if not error:
            raise
        context.log.warning(f"What dbt had built when it failed was not copied from {engine.name}: {copy_error}")
        outputs = []
    if outputs:
        yield from results.described(outputs, left_out)
    yield from map(results.with_failing_rows, failed)
    if error:
        raise _failure(error, failed, engine.settings.dagster_url) from None


def _failure(error: DagsterDbtCliRuntimeError, failed: Sequence[AssetCheckResult], dagster_url: str) -> Failure:
    links: dict[str, MetadataValue[Any]] = {}
    # Tests end in no certain order.
    for result in sorted(failed, key=lambda result: str(result.check_name)):
        if result.asset_key and result.severity is AssetCheckSeverity.ERROR:
            asset, rows = result.asset_key.to_user_string(), result.metadata.get("dagster_dbt/failed_row_count")
            check = f"{asset}: {result.check_name}{f' (failing rows: {rows.value})' if rows else ''}"
            page = f"{dagster_url}/assets/{asset}?view=checks&checkDetail={result.check_name}"
            links[check] = MetadataValue.url(page)
    # dagster-dbt writes its command before dbt's errors.
    errors = str(error.description).rpartition("Errors parsed from dbt logs:\n\n")[2]
    reported = _PROGRESS.sub("", errors)
    if "exit code `-9`" in errors:
        reported = "dbt was killed. If memory was short, lower ACL_MEMORY_LIMIT or give it more. Refresh again."
    if not links:
        return Failure(f"dbt failed; all of its output is in the logs of this step.\n\n{reported}", allow_retries=False)
    return Failure(
        f"Blocking checks failed: {', '.join(links)}. The links below lead to their failing rows. Correct the export "
        f"or the models and refresh again.\n\n{reported}",
        metadata=links,
        allow_retries=False,
    )


@dataclass(frozen=True)
class _Results:
    """Reads from the build file what Dagster shows of models and failed checks."""

    context: AssetExecutionContext
    engine: Engine
    manifest: Mapping[str, Any]
    invocation: DbtCliInvocation

    def with_lineage(self, output: Output[Any]) -> Output[Any]:
        """Return a built model with its column lineage."""
        lineage = lineage_of_model(self.manifest, self.invocation.target_path, _unique_id(output))
        deps = {
            column: [TableColumnDep(self._asset_key(upstream), name) for upstream, name in sources]
            for column, sources in lineage.items()
        }
        return output.with_metadata({**output.metadata, COLUMN_LINEAGE_METADATA: TableColumnLineage(deps)})

    def _asset_key(self, unique_id: str) -> AssetKey:
        translator = self.invocation.dagster_dbt_translator
        return translator.get_asset_key(translator.get_resource_props(self.manifest, unique_id))

    def copy(self, outputs: Sequence[Output[Any]], failed: Sequence[AssetCheckResult]) -> Mapping[str, int]:
        """Copy models and stored failing rows into the build file; return the rows of those that are too large."""
        stores = [self._relation(result) for result in failed]
        models = [_unique_id(output) for output in outputs]
        left_out = self.engine.copy_results(self.manifest, self.invocation.target_path, models, stores)
        for relation, rows in left_out.items():
            self.context.log.info(
                f"Too large for the published file, and left in {self.engine.name}: {relation} ({rows:,} rows)."
            )
        return left_out

    def described(self, outputs: Sequence[Output[Any]], left_out: Mapping[str, int]) -> Iterator[Output[Any]]:
        """Yield the built models with row count and, unless they are facts or evidence, first rows."""
        build_file = self.engine.settings.build_file
        relations = [self._relation(output) for output in outputs]
        counts = {**row_counts(build_file, relations), **left_out}
        publication = (
            "left to published_warehouse in this run"
            if "published_warehouse" in selected_assets(self.context)
            else f"nothing: published_warehouse is not selected; the build stays in {build_file}"
        )
        previewed = [name for name in relations if name.startswith(_PREVIEWED) and name not in left_out]
        previews = dict(zip(previewed, self._first_rows(previewed), strict=True))
        for output, relation in zip(outputs, relations, strict=True):
            metadata: dict[str, Any] = {
                **output.metadata,
                ROW_COUNT_METADATA: counts[relation],
                "publication": publication,
            }
            if relation in previews:
                metadata["preview"] = previews[relation]
            yield output.with_metadata(metadata)

    def with_failing_rows(self, result: AssetCheckResult) -> AssetCheckResult:
        """Return the result with its test's description and a sample of the failing rows that dbt stored."""
        relation, build_file = self._relation(result), self.engine.settings.build_file
        where = f"{relation} in {build_file}, or in the published file once that build is published"
        metadata: dict[str, Any] = {**result.metadata, "stored_failures": where}
        if row_counts(build_file, [relation]):
            [metadata["failing_rows"]] = self._first_rows([relation])
        description = self.manifest["nodes"][_unique_id(result)].get("description") or None
        return result.with_metadata(metadata)._replace(description=description)

    def _first_rows(self, relations: Sequence[str]) -> list[TableMetadataValue]:
        tables = []
        with duckdb.connect(str(self.engine.settings.build_file), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            for relation in relations:
                cursor = connection.execute(f"select * from {relation} order by all limit {_SHOWN_ROWS}")
                tables.append(metadata_table([column[0] for column in cursor.description], cursor.fetchall()))
        return tables

    def _relation(self, event: Output[Any] | AssetCheckResult) -> str:
        return relation_name(self.manifest["nodes"][_unique_id(event)])


def _unique_id(event: Output[Any] | AssetCheckResult) -> str:
    return str(event.metadata["unique_id"].value)
