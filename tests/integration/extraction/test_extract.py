"""An extract lands all tables at one instant, as a whole or not at all."""

import errno
import os
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from extracts import (
    EXPORT_ROLE_SQL,
    PASSWORD,
    folders,
    merged_rows,
    parquet_rows,
    purchase,
    run,
    set_limits,
    source_rows,
    when_logged,
)
from landing_zones import chain_at
from postgres import execute
from psycopg2.extensions import make_dsn
from refreshes import environment, land_batch, land_plain_batch, wait_until

from acl_assets.extraction.connection import SourceConnection
from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError, only_extract
from acl_assets.landing_zone.manifest import UNFINISHED_MANIFEST_NAME, begin_batch
from acl_assets.settings import PROJECT_DIR, Settings, secret_text
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema

pytestmark = pytest.mark.server

# Landed batches -----------------------------------------------------------------------------------------------


def test_full_batch_holds_every_row_and_what_the_server_counted_and_no_password(
    extractable: Settings, ticketing_dsn: str
) -> None:
    """The server computes counts and sums, so they show if rows did not arrive."""
    with when_logged("Landed") as messages:
        assert extract(extractable).full_because == "no full batch has landed yet"
    batch = chain_at(extractable.exports_dir).newest
    for table in SOURCE_TABLES:
        rows, path = source_rows(ticketing_dsn, table), Path(batch.folder) / f"{table}.parquet"
        assert sorted(parquet_rows(path)) == rows
        assert rows or SOURCE_TABLES[table].is_optional
        assert pq.read_schema(path).equals(arrow_schema(SOURCE_TABLES[table]))
        assert batch.tables[table].rows_at_source == len(rows)
    ((price, database),) = execute(ticketing_dsn, "select sum(price), current_database() from tickets")
    assert batch.tables["tickets"].sums_at_source == {"price": price}
    assert batch.source_snapshot is not None
    assert batch.source_snapshot["database"] == database
    assert PASSWORD not in "".join(messages)
    assert PASSWORD.encode() not in b"".join(path.read_bytes() for path in Path(batch.folder).iterdir())


def test_values_arrive_unchanged_from_any_schema(extractable: Settings, ticketing_dsn: str) -> None:
    names = ["", "NULL", '"quoted", 100% \\N', "Ünïcödé 🎸", "two\nlines", "o'clock", " 'x' "]
    for name in names:
        execute(ticketing_dsn, "insert into bands (name, fee) values (%s, 2147483647)", [name])
    execute(ticketing_dsn, "update performances set performance_start = '0001-01-01 00:00:00.000001+00' where id = 1")
    execute(ticketing_dsn, "truncate tickets")
    performances = source_rows(ticketing_dsn, "performances")
    execute(ticketing_dsn, 'alter schema public rename to "Box Office"')
    execute(make_dsn(ticketing_dsn, options="-c acl.ticketing_schema=Box\\ Office"), EXPORT_ROLE_SQL)
    execute(ticketing_dsn, "alter role acl_export connection limit 20")
    folder = Path(extract(extractable.with_changes(ticketing_schema="Box Office")).folder)
    assert [name for _, name, fee, *_ in parquet_rows(folder / "bands.parquet") if fee == 2147483647] == names
    assert sorted(parquet_rows(folder / "performances.parquet")) == performances
    assert parquet_rows(folder / "tickets.parquet") == []
    assert chain_at(extractable.exports_dir).newest.tables["tickets"].sums_at_source == {"price": 0}


def test_all_tables_are_of_one_instant(extractable: Settings, ticketing_dsn: str) -> None:
    """A sale between two tables must not leave tickets without a purchase."""
    before = {table: source_rows(ticketing_dsn, table) for table in SOURCE_TABLES}
    with when_logged("bands:", lambda: execute(ticketing_dsn, f"update bands set fee = fee + 1; {purchase(3)}")):
        folder = Path(extract(extractable).folder)
    for table in SOURCE_TABLES:
        assert sorted(parquet_rows(folder / f"{table}.parquet")) == before[table]
    assert source_rows(ticketing_dsn, "tickets") != before["tickets"]


# Incremental batches ------------------------------------------------------------------------------------------


def test_the_next_batch_holds_what_changed(extractable: Settings, ticketing_dsn: str) -> None:
    first = extract(extractable)
    execute(ticketing_dsn, f"update tickets set price = 40 where id = 7; {purchase(2)}")
    second = extract(extractable)
    assert second.kind == "incremental"
    assert {name: table.rows for name, table in second.tables.items() if table.rows} == {"purchases": 1, "tickets": 3}
    batch = chain_at(extractable.exports_dir).newest
    assert batch.continues_from is not None
    assert batch.continues_from.batch_id == first.batch_id
    assert batch.tables["bands"].files == ()
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


def test_late_commit_is_read_by_the_next_incremental_batch(extractable: Settings, ticketing_dsn: str) -> None:
    """Ids are given out before the commit: those of the slow buyer are below ids that have landed before."""
    with closing(psycopg2.connect(ticketing_dsn)) as slow:
        run(slow, purchase(5))
        run(slow, "savepoint halfway")
        run(slow, purchase(1))
        execute(ticketing_dsn, purchase(4))
        extract(extractable)
        landed = {row[0] for row in merged_rows(extractable, "tickets")}
        # Until the slow transaction ends, what was committed since comes with every batch.
        assert extract(extractable).tables["tickets"].rows == 4
        slow.commit()
    late = {row[0] for row in source_rows(ticketing_dsn, "tickets")} - landed
    assert len(late) == 6
    assert max(late) < max(landed)
    assert extract(extractable).tables["tickets"].rows == 10
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


# A full batch instead -----------------------------------------------------------------------------------------


def test_deleted_rows_make_the_next_batch_a_full_one(extractable: Settings, ticketing_dsn: str) -> None:
    """As many rows come as go: the table's count alone shows nothing, the count of new ids does."""
    first = extract(extractable)
    execute(ticketing_dsn, f"delete from tickets where id <= 30; {purchase(30)}")
    second = extract(extractable)
    assert second.kind == "full"
    assert f"rows of tickets have been deleted since batch {first.batch_id}" in str(second.full_because)
    assert folders(extractable) == [first.batch_id, second.batch_id]
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


@pytest.mark.parametrize(
    ("prepare", "change"),
    [
        (
            "alter table bands add column dollars int; update bands set dollars = fee + 1",
            "alter table bands drop column fee; alter table bands rename column dollars to fee",
        ),
        (
            "create table acts as table bands; update acts set fee = fee + 1; grant select on acts to acl_export",
            "alter table bands rename to former_bands; alter table acts rename to bands",
        ),
        ("select 1", "alter table bands drop column fee; alter table bands add column fee int default 77"),
        (
            "create table part (like bands including all); insert into part values (1000, 'x', 1); "
            "create table part_2 (like bands including all); insert into part_2 values (1000, 'x', 2); "
            "alter table part inherit bands",
            "alter table part no inherit bands; alter table part_2 inherit bands",
        ),
    ],
    ids=["renamed column", "renamed table", "column with a default", "partition"],
)
def test_replaced_tables_and_columns_make_the_next_batch_a_full_one(
    extractable: Settings, ticketing_dsn: str, prepare: str, change: str
) -> None:
    """The values of rows change, but no row is written after the batch before."""
    execute(ticketing_dsn, prepare)
    extract(extractable)
    execute(ticketing_dsn, change)
    assert "the digest of the tables and columns is" in str(extract(extractable).full_because)
    assert merged_rows(extractable, "bands") == source_rows(ticketing_dsn, "bands")


def test_full_batch_is_taken_when_asked_for_or_when_the_chain_cannot_be_continued(
    extractable: Settings, ticketing_dsn: str
) -> None:
    """Only a newer full batch supersedes a bad one, so the extract must take one."""
    land_plain_batch(extractable)
    first = extract(extractable)
    assert first.full_because == "batch first records no snapshot that this version can continue from"
    assert extract(extractable, full=True).full_because == "it was asked for"
    newest = extract(extractable.with_changes(full_extract_days=0.04))
    assert "is as old as ACL_FULL_EXTRACT_DAYS allows" in str(newest.full_because)
    (Path(newest.folder) / "manifest.json").write_text("{")
    newest = extract(extractable)
    assert "the landing zone's state cannot be continued" in str(newest.full_because)

    def replace(file: Path) -> None:
        pq.write_table(pa.table({"number": [1]}), file)

    for damage in (lambda file: os.truncate(file, 1_000), replace, Path.unlink):
        damage(Path(newest.folder) / "tickets.parquet")
        execute(ticketing_dsn, purchase())
        newest = extract(extractable)
        assert "landed files of tickets cannot be read" in str(newest.full_because)


def test_a_batch_that_lands_meanwhile_is_not_passed_over(extractable: Settings) -> None:
    """An incremental batch continues from one certain batch; behind another one it would break every refresh."""
    first = extract(extractable)
    instant = chain_at(extractable.exports_dir).newest.exported_at + timedelta(milliseconds=1)

    def land_another() -> None:
        land_batch(extractable, "another", exported_at=instant)

    with when_logged("tickets:", land_another), pytest.raises(ExtractionError, match="is no longer the newest"):
        extract(extractable)
    assert folders(extractable) == ["another", first.batch_id]


# Interruptions ------------------------------------------------------------------------------------------------


def assert_failed_cleanly_and_succeeds_again(extractable: Settings, dsn: str) -> None:
    assert folders(extractable) == []
    extract(extractable)
    assert merged_rows(extractable, "tickets") == source_rows(dsn, "tickets")


def test_a_session_cut_while_rows_are_sent_leaves_nothing(
    extractable: Settings, ticketing_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is so large that the next extract writes it in several row groups, for which readers need memory."""
    execute(ticketing_dsn, "insert into people (name) select repeat('x', 100) from generate_series(1, 300000)")

    def cut() -> None:
        query = (
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
            "and state = 'active' and query ilike 'copy%people%'"
        )
        wait_until(lambda: bool(execute(ticketing_dsn, query)), "the table is read")

    monkeypatch.setattr("acl_assets.extraction.connection._PAGES_PER_SLICE", 10**6)
    cutting = threading.Thread(target=cut)
    with when_logged("performances:", cutting.start), pytest.raises(ExtractionError, match="Failed to read people at"):
        extract(extractable)
    cutting.join()
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)
    people = pq.read_metadata(Path(chain_at(extractable.exports_dir).newest.folder) / "people.parquet")
    assert max(people.row_group(number).num_rows for number in range(people.num_row_groups)) < 150_000


def test_full_disk_leaves_nothing_and_the_error_says_where(
    extractable: Settings, ticketing_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(ExtractionError, match=r"exports cannot be written: No space left .* MB are free there"):
            extract(extractable)
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_rows_that_do_not_arrive_are_noticed(extractable: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SourceConnection, "batches", lambda *_: [])
        with pytest.raises(ExtractionError, match="counted 90 rows of bands to read, but 0 arrived"):
            extract(extractable)
    assert folders(extractable) == []


def test_cancelled_command_removes_what_it_began(extractable: Settings, ticketing_dsn: str) -> None:
    variables = {**environment(extractable), "ACL_TICKETING_DSN": secret_text(extractable.ticketing_dsn) or ""}
    command = [sys.executable, "-m", "acl_assets.extraction.extract", "--mb-per-second", "0.1"]
    process = subprocess.Popen(command, cwd=PROJECT_DIR, env=variables, text=True, stderr=subprocess.PIPE)
    wait_until(lambda: any(extractable.exports_dir.glob("*/tickets.parquet")), "tickets are read")
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, "The extract was cancelled; nothing was landed." in errors) == (130, True)
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_what_a_killed_extract_left_is_no_batch_and_removed_by_the_next_one(extractable: Settings) -> None:
    """A link and a complete batch with a left-over mark are none of its."""
    left_over = begin_batch(extractable.exports_dir, "ticketing-killed")
    (left_over / "tickets.parquet").touch()
    elsewhere = begin_batch(extractable.data_dir / "elsewhere", "marked")
    (extractable.exports_dir / "ticketing-link").symlink_to(elsewhere)
    first = extract(extractable)
    (Path(first.folder) / UNFINISHED_MANIFEST_NAME).touch()
    second = extract(extractable)
    assert (second.kind, second.full_because) == ("incremental", None)
    assert folders(extractable) == [first.batch_id, second.batch_id, "ticketing-link"]
    assert [path.name for path in elsewhere.iterdir()] == [UNFINISHED_MANIFEST_NAME]


def test_there_is_one_extract_at_a_time(extractable: Settings) -> None:
    with only_extract(extractable), pytest.raises(ExtractionError, match=r"Another extract into .* is running"):
        extract(extractable)


# Gentle to the server -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [20, 1])
def test_a_change_of_structure_does_not_wait_for_the_extract(
    extractable: Settings, ticketing_dsn: str, monkeypatch: pytest.MonkeyPatch, sessions: int
) -> None:
    """A session that alters a table waits for its readers, and buyers for that session: the extract ends its pause."""
    set_limits(monkeypatch)
    # The limit is one of the server, which closes the sessions of an earlier test after these have left.
    earlier = "select 1 from pg_stat_activity where usename = 'acl_export'"
    wait_until(lambda: not execute(ticketing_dsn, earlier), "earlier sessions end")
    execute(ticketing_dsn, f"alter role acl_export connection limit {sessions}")
    altering = threading.Thread(target=execute, args=(ticketing_dsn, "alter table bands add column genre text"))

    def alter() -> None:
        altering.start()
        query = "select 1 from pg_locks where not granted and relation = 'bands'::regclass"
        wait_until(lambda: bool(execute(ticketing_dsn, query)), "the change waits")

    with when_logged("people:", alter), pytest.raises(ExtractionError, match="gave way; extract again"):
        extract(extractable.with_changes(extract_mb_per_s=0.02))
    altering.join(60)
    assert not altering.is_alive()
    execute(ticketing_dsn, "alter role acl_export connection limit 20")
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_a_locked_table_is_not_waited_for(
    extractable: Settings, ticketing_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a reader that waits for a lock, buyers would wait too."""
    set_limits(monkeypatch)
    with closing(psycopg2.connect(ticketing_dsn)) as owner:
        run(owner, "lock table tickets in access exclusive mode")
        with pytest.raises(ExtractionError, match=r"lock timeout. Somebody changes the table's structure"):
            extract(extractable)
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)
