"""The contender without an orchestrator: hand_written.sql, run by the least that can run it.

What belongs here: what SQL cannot do, that is checksums, folders and the swap at the end. Nothing of the product is
imported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

SCRIPT = Path(__file__).with_suffix(".sql")
_EVERYTHING = ("settings", "typed tables", "views", "star schema", "data products", "source keys", "checks", "end")
_UNCHECKED = ("settings", "views", "star schema", "data products", "source keys", "end")


class CheckFailedError(RuntimeError):
    """The export, or what was made of it, breaks a rule."""


def build(batch: Path, output: Path, *, checked: bool = True) -> Path:
    """Make the warehouse file of an export batch of Parquet files below an empty `output` folder, and return it.

    Checked, files are verified against their manifest and typed tables are written beside the warehouse; unchecked,
    the star schema is made from the exported files as they are.

    Raises:
        CheckFailedError: a rule is broken; there is no warehouse file then.
    """
    source_tables = output / "source_tables" if checked else batch
    source_tables.mkdir(parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    building, warehouse = output / "building.duckdb", output / "acl.duckdb"
    building.unlink(missing_ok=True)
    if checked:
        _verify_files(batch)
    with duckdb.connect(str(building)) as connection:
        connection.execute("set variable batch = ?", [str(batch)])
        connection.execute("set variable source_tables = ?", [str(source_tables)])
        for statements in _parts(_EVERYTHING if checked else _UNCHECKED):
            connection.execute(statements)
        broken = connection.execute("select * from failures where failing <> 0").fetchall() if checked else []
    if broken:
        raise CheckFailedError(", ".join(f"{name}: {failing}" for name, failing in broken))
    os.replace(building, warehouse)
    return warehouse


def _parts(names: Iterable[str]) -> list[str]:
    _, *pieces = re.split(r"^-- part: (.+)$", SCRIPT.read_text(), flags=re.MULTILINE)
    parts = dict(zip(pieces[::2], pieces[1::2], strict=True))
    return [parts[name] for name in names]


def _verify_files(batch: Path) -> None:
    tables = json.loads((batch / "manifest.json").read_bytes())["tables"].values()
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda file: _verify_file(batch, file), [file for table in tables for file in table["files"]]))


def _verify_file(batch: Path, file: dict[str, str]) -> None:
    with (batch / file["path"]).open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
            raise CheckFailedError(f"{file['path']} is not the file that was exported")


def main() -> None:
    """Build from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hand_written", description="Build a warehouse by hand.")
    parser.add_argument("batch", type=Path, help="folder of the export batch")
    parser.add_argument("output", type=Path, help="folder for the warehouse")
    parser.add_argument("--unchecked", action="store_true", help="verify, type and check nothing")
    options = parser.parse_args()
    build(options.batch, options.output, checked=not options.unchecked)


if __name__ == "__main__":
    main()
