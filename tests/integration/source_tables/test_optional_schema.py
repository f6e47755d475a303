"""A table and a column that are declared as optional later: batches that lack them stay valid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from landing_zones import FolderZone, rewrite
from refreshes import LATER, festival_settings, land_batch, land_plain_batch
from source_tables.landing import convert

from acl_assets.landing_zone.manifest import describe_file
from acl_assets.settings import Settings
from acl_assets.source_schema import SOURCE_TABLES, SourceColumn, SourceTable, arrow_schema
from acl_assets.source_tables.current_state import DamagedStateError, read_current

pytestmark = pytest.mark.slow

TICKET_TYPES = SourceTable(
    "ticket_types",
    "Kinds of tickets.",
    (SourceColumn("id", "int", "Primary key."), SourceColumn("label", "text", "Name of the kind.")),
    is_optional=True,
)
GENRE = SourceColumn("genre", "text", "Kind of music.", is_optional=True)
BANDS = replace(SOURCE_TABLES["bands"], columns=(*SOURCE_TABLES["bands"].columns, GENRE))


def declare(patch: pytest.MonkeyPatch, *tables: SourceTable) -> None:
    for table in tables:
        patch.setitem(SOURCE_TABLES, table.name, table)


def converted(settings: Settings, table: str) -> pa.Table:
    convert(settings)
    return pq.read_table(settings.source_tables_dir / "current" / f"{table}.parquet")


@pytest.mark.parametrize("form", ["parquet", "plain"])
def test_batch_without_them_gives_nulls_and_an_empty_table(
    form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = festival_settings(tmp_path / "data")
    land_plain_batch(settings) if form == "plain" else land_batch(settings, form=form)
    before = converted(settings, "bands")
    # The tables of the earlier declaration are made again.
    for table in (BANDS, TICKET_TYPES):
        declare(monkeypatch, table)
        with pytest.raises(DamagedStateError, match="of another version"):
            read_current(settings.source_tables_dir)
    after = converted(settings, "bands")
    assert after.drop_columns("genre").equals(before)
    assert after["genre"].null_count == len(before) > 0
    kinds = converted(settings, "ticket_types")
    assert (len(kinds), kinds.schema) == (0, arrow_schema(TICKET_TYPES))


def test_batches_with_them_are_read_and_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = festival_settings(tmp_path / "data")
    land_batch(settings)
    declare(monkeypatch, BANDS, TICKET_TYPES)
    second = FolderZone(settings.exports_dir).land("second", LATER, after="first", content="")
    (second / "bands.csv").write_text("genre,fee,name,id\nfolk,5,New,9000\n")
    (second / "ticket_types-1.csv").write_text("id,label\n1,day\n2,weekend\n")

    def describe(document: Any) -> None:
        document["tables"] = {table: {"rows_at_source": 0, "files": []} for table in SOURCE_TABLES}
        for table, name, rows in (("bands", "bands.csv", 1), ("ticket_types", "ticket_types-1.csv", 2)):
            document["tables"][table]["files"] = [vars(describe_file(second, name, rows))]

    rewrite(second, describe)
    genres = {row["id"]: row["genre"] for row in converted(settings, "bands").to_pylist()}
    assert genres.pop(9000) == "folk"
    assert set(genres.values()) == {None}
    assert converted(settings, "ticket_types")["label"].to_pylist() == ["day", "weekend"]
