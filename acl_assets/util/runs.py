"""Facts about a Dagster run: the runs it re-executes, whether it selects any asset, and why a step failed."""

from pathlib import Path

from dagster import AssetExecutionContext, DagsterEvent, DagsterInstance, DagsterRun, Failure

# Dagster's job for a selection of assets; the name is part of its run records and URLs.
_ASSET_JOB = "__ASSET_JOB"


def require_selection(run: DagsterRun) -> None:
    """Raise ValueError if a run was started for a selection which matches no asset.

    Dagster records an empty selection like none at all, and such a run would materialize every asset. `*` records
    every asset, and a named job such as `refresh` needs no selection.
    """
    if run.job_name == _ASSET_JOB and not run.asset_selection and not run.asset_check_selection:
        raise ValueError(
            "The selection of this run matches no asset, so nothing was materialized. Correct the names after --select "
            "or --assets; '*' selects every asset, and the asset graph in Dagster's UI shows their names."
        )


def selected_assets(context: AssetExecutionContext) -> tuple[str, ...]:
    """Return the assets that are selected in the run of a step, as `layer/name`, those of other steps included."""
    return tuple(sorted(key.to_user_string() for key in context.job_def.asset_layer.selected_asset_keys))


def run_chain(instance: DagsterInstance, run: DagsterRun) -> list[str]:
    """Return the id of a run and of the runs it re-executes, newest first."""
    chain = [run.run_id]
    parent = run.parent_run_id
    while parent and parent not in chain:
        chain.append(parent)
        found = instance.get_run_by_id(parent)
        parent = found.parent_run_id if found else None
    return chain


def unwritable(folder: Path, error: Exception) -> Failure:
    """Return the failure of a step that cannot write into a folder."""
    return Failure(
        f"{folder} cannot be written: {error}. Let this user write there; if the disk is full, make room or set "
        "ACL_DATA_DIR to where there is some. Then refresh again.",
        allow_retries=False,
    )


def failure_in_words(event: DagsterEvent) -> str | None:
    """Return the description with which a step failed on purpose, None if another error ended it."""
    data = event.step_failure_data
    return (data.user_failure_data and data.user_failure_data.description) or None


def root_cause(event: DagsterEvent) -> tuple[str, str] | None:
    """Return class and message of the error at the root of a failed step, None if none was recorded."""
    error = event.step_failure_data.error
    # An error of a worker process has its traceback there as cause.
    while error and error.cause and error.cause.cls_name != "_RemoteTraceback":
        error = error.cause
    return (str(error.cls_name), error.message) if error else None
