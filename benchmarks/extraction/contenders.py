"""Who reads: ways to copy the six tables to where the reader is, each a process of its own.

What belongs here: each contender's command and environment. What does not: how it is measured (`latency`, `cost`), and
the scripts of those who need one (`readers`).
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.extraction.source import EXPORT_ROLE, REPORTING_ROLE, TABLES, Source

PLAIN_COPY = "plain COPY"
EXTRACT = "extract"
EXTRACT_UNTHROTTLED = "extract, unthrottled"
PSQL = "psql \\copy, all at once"
PG_DUMP = "pg_dump"
PANDAS = "pandas"
PAGES = "LIMIT/OFFSET"
CONNECTORX = "connectorx"
DLT = "dlt"

PACKAGES = ("adbc-driver-postgresql", "connectorx", "dlt", "pandas", "psycopg2-binary", "pyarrow", "sqlalchemy")
"""What the contenders are made of."""


@dataclass(frozen=True)
class Contender:
    """One way to read the tables.

    Attributes:
        name: as the tables call it.
        command: the process to start, which writes below a folder.
        environment: its own variables, beside those all have.
        leaves_parquet: whether its output is Parquet files, whose rows can be counted.
    """

    name: str
    command: Callable[[Source, Path], Sequence[str]]
    environment: Callable[[Source, Path], Mapping[str, str]] = field(default=lambda source, folder: {})
    leaves_parquet: bool = True

    def environment_in(self, source: Source, folder: Path) -> dict[str, str]:
        """All variables of its process: this one's without those of installations, and its own."""
        others = ("ACL_", "DAGSTER_", "DBT_", "DLT_", "PG")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        return {**inherited, **self.environment(source, folder)}


def output(folder: Path) -> Path:
    """Where in its folder a contender leaves what it has read; beside it is what it needs besides."""
    return folder / "output"


def clear(folder: Path) -> None:
    """Make a contender's folder empty."""
    shutil.rmtree(folder, ignore_errors=True)
    output(folder).mkdir(parents=True)


def extract_environment(source: Source, exports_dir: Path, mb_per_s: float | None) -> dict[str, str]:
    """The variables of an extract at a pace; None for the pace it has by itself."""
    pace = {} if mb_per_s is None else {"ACL_EXTRACT_MB_PER_S": f"{mb_per_s:g}"}
    return {"ACL_TICKETING_DSN": source.dsn(EXPORT_ROLE), "ACL_EXPORTS_DIR": str(exports_dir), **pace}


def extract_command(*options: str) -> list[str]:
    """The command of an extract."""
    return [sys.executable, "-m", "acl_assets.ingestion.extraction", *options]


def _extract(name: str, mb_per_s: float | None) -> Contender:
    return Contender(
        name,
        command=lambda source, folder: extract_command("--full"),
        environment=lambda source, folder: extract_environment(source, output(folder), mb_per_s),
    )


def _copy(source: Source, folder: Path) -> list[str]:
    return [*_psql(source), *(_copy_option(folder, table, "") for table in TABLES)]


def _copy_at_once(source: Source, folder: Path) -> list[str]:
    copies = [shlex.join([*_psql(source), _copy_option(folder, table, "csv header")]) for table in TABLES]
    script = "; ".join(f'{copy} & all="$all $!"' for copy in copies)
    return ["/bin/sh", "-c", f'{script}; for one in $all; do wait "$one" || exit 1; done']


def _psql(source: Source) -> list[str]:
    return [str(source.bin_dir / "psql"), "--no-psqlrc", source.dsn(REPORTING_ROLE)]


def _copy_option(folder: Path, table: str, options: str) -> str:
    return f"--command=\\copy {table} to '{output(folder) / table}' {options}"


def _dump(source: Source, folder: Path) -> list[str]:
    tables = (f"--table={table}" for table in TABLES)
    file = output(folder) / "ticketing.dump"
    command = [str(source.bin_dir / "pg_dump"), "--format=custom", "--data-only", *tables]
    return [*command, f"--file={file}", source.dsn(REPORTING_ROLE)]


def _script(name: str, way: str, environment: Mapping[str, str] | None = None) -> Contender:
    return Contender(
        name,
        command=lambda source, folder: [
            *(sys.executable, "-m", "benchmarks.extraction.readers"),
            *(way, source.dsn(REPORTING_ROLE), str(output(folder))),
        ],
        environment=lambda source, folder: {"HOME": str(folder), **(environment or {})},
    )


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(PLAIN_COPY, _copy, leaves_parquet=False),
        _extract(EXTRACT, None),
        _extract(EXTRACT_UNTHROTTLED, 0),
        Contender(PSQL, _copy_at_once, leaves_parquet=False),
        Contender(PG_DUMP, _dump, leaves_parquet=False),
        _script(PANDAS, "pandas"),
        _script(PAGES, "pages"),
        _script(CONNECTORX, "connectorx"),
        _script(DLT, "dlt", {"RUNTIME__DLTHUB_TELEMETRY": "false"}),
    )
}
