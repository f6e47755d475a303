"""Run the job `refresh` from a terminal: print one line per stage, then the answer, or the failures.

Everything else that Dagster and dbt print stays in the logs of the run; `--verbose` shows it instead of the lines.
"""

import argparse
import logging
import os
import re
import shutil
import signal
import sys
import textwrap
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from io import TextIOWrapper
from typing import TextIO

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetMaterialization,
    DagsterError,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    EventLogEntry,
)
from sqlalchemy.exc import SQLAlchemyError

from acl_assets.asset_keys import ROW_COUNT_METADATA
from acl_assets.settings import Settings, SettingsError
from acl_assets.util.runs import failure_in_words, root_cause
from acl_assets.util.text import escaped_text
from acl_assets.warehouse.project import DbtProjectError
from acl_assets.warehouse.published_file import open_published

_TITLES = {
    "source_tables": "Source tables",
    "dbt_models": "Warehouse",
    "source_row_counts": "Row counts",
    "star_schema__fct_ticket_sales_amounts_as_source": "Amounts",
    "published_warehouse": "Publication",
    "all_stars_report": "Report",
    "superset_dashboard": "Dashboards",
}
# Dagster's UI lists a run on the page of its job by this tag.
_TAGS = {".dagster/repository": "__repository__@acl_assets.definitions"}
_MAX_ERROR_LINES = 8


class Progress:
    """Prints a line for each step of a run from its events, and collects what is wrong.

    On a terminal the line of the current step counts its checks. Without a stream nothing is printed.
    """

    def __init__(self, stream: TextIO | None, steps: int) -> None:
        self.warnings: list[str] = []
        self.failures: list[str] = []
        self.succeeded: set[str] = set()
        self._is_running = False
        self._stream, self._steps, self._number = stream, steps, 0
        self._is_live = stream is not None and stream.isatty()

    def handle(self, entry: EventLogEntry) -> None:
        """Take in the next event or message of the run."""
        event, step = entry.dagster_event, entry.step_key
        if event is None:
            # Between two steps Dagster itself lists every step that will not be run.
            if self._is_running and int(entry.level) >= logging.WARNING:
                self._print(f"      Warning: {escaped_text(entry.user_message)}")
            self._said = entry.user_message
        elif event.event_type == DagsterEventType.STEP_START:
            self._number, self._is_running = self._number + 1, True
            self._started_at, self._said = entry.timestamp, ""
            self._made: list[AssetMaterialization] = []
            self._checks: list[AssetCheckEvaluation] = []
            self._show(_stage_line(self._number, self._steps, str(step), None, "..."))
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            self._made.append(event.step_materialization_data.materialization)
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            self._checks.append(event.asset_check_evaluation_data)
            self._show(_stage_line(self._number, self._steps, str(step), None, f"{len(self._checks)} checks so far"))
        elif event.event_type in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
            self._end(event, entry.timestamp - self._started_at)

    def _end(self, event: DagsterEvent, seconds: float) -> None:
        failed = [check for check in self._checks if not check.passed]
        blocking = [check for check in failed if check.blocking and check.severity == AssetCheckSeverity.ERROR]
        self.warnings += [check_line(check) for check in failed if check not in blocking]
        self.failures += [check_line(check) for check in blocking]
        self._is_running = False
        if event.is_step_failure:
            summary = ", ".join(["failed", *filter(None, [stage_summary([], self._checks)])])
            if not blocking or any(_rows(check) == 0 for check in blocking):
                self.failures.append(_error_text(event))
        else:
            summary = stage_summary(self._made, self._checks) or escaped_text(self._said)
            self.succeeded.add(str(event.step_key))
        self._print(_stage_line(self._number, self._steps, str(event.step_key), seconds, summary))

    def _show(self, line: str) -> None:
        if self._stream and self._is_live:
            _write(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", self._stream)

    def _print(self, line: str) -> None:
        self._show("")
        if self._stream:
            _write(f"{line}\n", self._stream)


def stage_summary(made: Sequence[AssetMaterialization], checks: Sequence[AssetCheckEvaluation]) -> str:
    """Return in a few words what a step has made and checked, nothing if that is nothing."""
    parts = []
    counts = [asset.metadata[ROW_COUNT_METADATA].value for asset in made if ROW_COUNT_METADATA in asset.metadata]
    if counts:
        parts.append(f"{len(counts)} tables, {sum(map(int, map(str, counts))):,} rows")
    elif len(made) == 1:
        metadata = made[0].metadata
        parts += [str(metadata[name].value) for name in ("batches", "dashboard") if name in metadata]
        parts += [f"{int(str(metadata['bytes'].value)) / 1e6:,.1f} MB"] if "bytes" in metadata else []
    passed = sum(check.passed for check in checks)
    if checks:
        share = "" if passed == len(checks) else f"{passed:,} of "
        parts.append(f"{share}{_counted(len(checks), 'check')} passed")
    return ", ".join(parts)


def check_line(check: AssetCheckEvaluation) -> str:
    """Return a failed check and its reason on one line: the error, or the number of rows that break the rule."""
    name, metadata = f"{check.asset_key.to_user_string()}: {check.check_name}", check.metadata
    rule = escaped_text(check.description or "It failed.").partition(". ")[0].removesuffix(".")
    if "reason" in metadata:
        return f"{name}: {escaped_text(str(metadata['reason'].value))}"
    rows = _rows(check)
    if rows is None:
        return f"{name}: {escaped_text(check.description or 'It failed.')}"
    return f"{name}: {_counted(rows, 'row')} against the rule: {rule}." if rows else f"{name}: It was not evaluated."


def _rows(check: AssetCheckEvaluation) -> int | None:
    """Return the failing rows that dbt counted, 0 if the test itself failed, None for other checks."""
    counted = check.metadata.get("dagster_dbt/failed_row_count")
    return None if counted is None else int(str(counted.value))


def answer_lines(verdicts: Sequence[tuple[int, str, str, str]]) -> list[str]:
    """Return a line per top venue from rank, name, verdict and sentence of `data_products.venue_verdicts`."""
    if not verdicts:
        return ["No completed performance has sold tickets to judge by yet."]
    return [
        f"{rank}. {escaped_text(venue)}: {verdict}. {escaped_text(sentence)}"
        for rank, venue, verdict, sentence in verdicts
    ]


def _stage_line(number: int, steps: int, step_key: str, seconds: float | None, summary: str) -> str:
    title = _TITLES.get(step_key, step_key.replace("_", " ").capitalize())
    took = "" if seconds is None else f"{seconds:.1f} s"
    return f"[{number}/{steps}] {title:<14}{took:>8}  {summary}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _error_text(event: DagsterEvent) -> str:
    """Return the step's own words for its failure, or the message of the first cause, cut."""
    name, message = root_cause(event) or ("", "No reason was recorded.")
    text = "It was interrupted." if name == "DagsterExecutionInterruptedError" else message
    text = failure_in_words(event) or text
    lines = [escaped_text(line) for line in text.splitlines() if line.strip()]
    # dbt's output lists the failed nodes before the reasons.
    reasons = [number for number, line in enumerate(lines) if re.match(r"\s*\w+ Error in ", line)]
    shown = lines[reasons[0] if reasons else 0 :]
    return "\n".join([*shown[:_MAX_ERROR_LINES], *(["..."] if len(shown) > _MAX_ERROR_LINES else [])])


def refresh(settings: Settings, *, verbose: bool) -> int:
    """Run the job and print what became of it; return the exit code."""
    from acl_assets.definitions import defs

    job, run_id = defs.resolve_job_def("refresh"), str(uuid.uuid4())
    with _dagster_instance() as instance, nullcontext() if verbose else _only_terminal() as terminal:
        progress = Progress(terminal, len(job.nodes))
        instance.add_event_listener(run_id, progress.handle)
        result = job.execute_in_process(instance=instance, run_id=run_id, raise_on_error=False, tags=_TAGS)
    if progress.warnings:
        _say("", *(f"Warning: {warning}" for warning in progress.warnings))
    is_published = "published_warehouse" in progress.succeeded
    if is_published:
        with open_published(settings) as published:
            query = "select venue_rank, venue_name, verdict, sentence from data_products.venue_verdicts order by all"
            verdicts = published.execute(query).fetchall()
            ((age,),) = published.execute("select statement from publication.summary").fetchall()
        _say("", f"{age}.", "", *answer_lines(verdicts), "")
        if "all_stars_report" in progress.succeeded:
            _say(f"The report:    {settings.report_file}")
        _say(f"The warehouse: {settings.published_file}")
    if result.success:
        return 0
    kept = "The warehouse was published nevertheless." if is_published else "Nothing was published."
    _say("", "The refresh failed.", *progress.failures, "", kept, stream=sys.stderr)
    _say(f"More: VERBOSE=1 make run, or make dev and {settings.dagster_url}/runs/{run_id}", stream=sys.stderr)
    return 1


@contextmanager
def _dagster_instance() -> Iterator[DagsterInstance]:
    try:
        with DagsterInstance.get() as instance:
            yield instance
    except (DagsterError, OSError, SQLAlchemyError) as error:
        raise SettingsError(
            f"Dagster's history in DAGSTER_HOME ({os.environ.get('DAGSTER_HOME') or 'not set'}) cannot be used. Set it "
            "to a folder that this user may write, with a copy of dagster.yaml; make run does so by itself. The error: "
            f"{str(error).splitlines()[0]}"
        ) from None


def _say(*lines: str, stream: TextIO | None = None) -> None:
    """Print lines, wrapped at spaces if people read them on a terminal."""
    stream = stream or sys.stdout
    if stream.isatty():
        width = shutil.get_terminal_size().columns
        wrap = textwrap.TextWrapper(width, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False)
        lines = tuple(wrap.fill(part) for line in lines for part in line.splitlines() or [""])
    _write("\n".join((*lines, "")), stream)


def _write(text: str, stream: TextIO) -> None:
    """Write text at once. If nobody can read it, send it and all that follows to nowhere: the run goes on."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def _only_terminal() -> Iterator[TextIO]:
    """Send what this process and its children print to nowhere, and yield a stream that still reaches the terminal."""
    saved = [os.dup(1), os.dup(2)]
    sys.stdout.flush()
    with (
        open(os.devnull, "wb") as nowhere,
        open(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors) as terminal,
    ):
        for number in (1, 2):
            os.dup2(nowhere.fileno(), number)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Refresh with the settings of the environment and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m acl_assets.refresh", description="Run the job refresh.")
    parser.add_argument("--verbose", action="store_true", help="print everything that Dagster and dbt print")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, TextIOWrapper):
        # Names can have characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        settings = Settings.from_environment()
        _say(f"Refreshing from {settings.exports_dir}")
        return refresh(settings, verbose=options.verbose)
    except (DbtProjectError, SettingsError) as error:
        _say(str(error), stream=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("The refresh was cancelled; what is published has not changed.", stream=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
