"""From a live database to a batch: complete, at one instant, as a whole or not at all, and gentle to the server."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from extracts import (
    EXPORT_ROLE_SQL,
    buy,
    folders,
    landed_chain,
    make_export_role,
    merged_rows,
    open_sale,
    parquet_rows,
    run,
    session,
    source_rows,
    when_logged,
)
from landing_zones import as_ordinary_user
from postgres import QUICK, database, execute, server_folder
from psycopg2.extensions import make_dsn
from refreshes import SMALL, environment, land_batch, land_plain_batch, published_rows, refresh, wait_until

from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import (
    ExtractionError,
    RoleError,
    SourceBehindError,
    SourceUnreachableError,
    only_extract,
    remove_left_overs,
)
from acl_assets.extraction.throttle import StressLimits
from acl_assets.landing_zone.manifest import MANIFEST_NAME, UNFINISHED_MANIFEST_NAME, begin_batch
from acl_assets.landing_zone.store import landing_zone_at
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.simulator.live_system import create_schema, load_history
from acl_assets.simulator.postgres_server import PostgresServer, running_postgres
from acl_assets.simulator.sales import TicketingHistory
from acl_assets.source_schema import SOURCE_TABLES, arrow_schema
from acl_assets.source_tables.conversion import TableOrder, make_table

pytestmark = pytest.mark.server

EVERY_BATCH = StressLimits(seconds_between_looks=0.0)


def backend_of_extract(dsn: str) -> int:
    """The server's process that reads for an extract."""
    query = (
        "select pid from pg_stat_activity where application_name = 'acl_assets extract' "
        "and datname = current_database() and backend_xmin is not null order by xact_start limit 1"
    )
    return int(execute(dsn, query)[0][0])


# What is landed -----------------------------------------------------------------------------------------------


def test_a_batch_holds_every_row_of_every_table(extractable: Settings, ticketing_dsn: str) -> None:
    extraction = extract(extractable)
    assert extraction.kind == "full"
    for table in SOURCE_TABLES:
        rows = source_rows(ticketing_dsn, table)
        assert rows
        assert sorted(parquet_rows(Path(extraction.folder) / f"{table}.parquet")) == rows


def test_the_manifest_says_what_the_server_said_of_each_table(extractable: Settings, ticketing_dsn: str) -> None:
    """Counts and sums are asked of the server, not taken from what arrived: they can show that something did not."""
    extract(extractable)
    batch = landed_chain(extractable).newest
    for table in SOURCE_TABLES:
        assert batch.tables[table].rows_at_source == len(source_rows(ticketing_dsn, table))
    assert batch.tables["tickets"].sums_at_source == {
        "price": execute(ticketing_dsn, "select sum(price) from tickets")[0][0]
    }
    assert batch.source_snapshot is not None
    assert batch.source_snapshot["database"] == execute(ticketing_dsn, "select current_database()")[0][0]
    assert batch.source_snapshot["full_because"] == "no full batch has landed yet"


def test_extracted_files_are_converted_completely(extractable: Settings, tmp_path: Path) -> None:
    extract(extractable)
    batch = landed_chain(extractable).newest
    for name, table in SOURCE_TABLES.items():
        (file,) = batch.tables[name].files
        assert pq.read_schema(Path(batch.folder) / file.path).equals(arrow_schema(table))
        order = TableOrder(
            zone=landing_zone_at(extractable.exports_dir),
            batches=(batch,),
            table=table,
            base=None,
            target=tmp_path / f"{name}.parquet",
            rejects_file=tmp_path / "rejects",
        )
        assert make_table(order) == [{f"{name}.parquet": batch.tables[name].rows_at_source}]


def test_values_arrive_as_they_are(extractable: Settings, ticketing_dsn: str) -> None:
    names = ["", "NULL", '"quoted", 100% \\N', "Ünïcödé 🎸", "two\nlines", "o'clock", " 'x' "]
    for name in names:
        execute(ticketing_dsn, "insert into bands (name, fee) values (%s, 2147483647)", [name])
    execute(ticketing_dsn, "update performances set performance_start = '0001-01-01 00:00:00.000001+00' where id = 1")
    folder = Path(extract(extractable).folder)
    assert [name for _, name, fee in parquet_rows(folder / "bands.parquet") if fee == 2147483647] == names
    assert sorted(parquet_rows(folder / "performances.parquet")) == source_rows(ticketing_dsn, "performances")


def test_a_table_without_rows_is_a_file_without_rows(extractable: Settings, ticketing_dsn: str) -> None:
    """A full batch holds every table, also before the first ticket is sold."""
    execute(ticketing_dsn, "truncate tickets")
    folder = Path(extract(extractable).folder)
    assert parquet_rows(folder / "tickets.parquet") == []
    assert landed_chain(extractable).newest.tables["tickets"].sums_at_source == {"price": 0}


def test_row_groups_are_bounded(extractable: Settings, ticketing_dsn: str) -> None:
    """Who reads the file, and who writes it, needs memory for a row group."""
    execute(ticketing_dsn, "insert into people (name) select 'Somebody' from generate_series(1, 300000)")
    metadata = pq.read_metadata(Path(extract(extractable).folder) / "people.parquet")
    largest = max(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    assert metadata.num_row_groups >= 2
    assert largest < 150_000


def test_the_tables_may_be_in_any_schema(extractable: Settings, ticketing_dsn: str) -> None:
    execute(ticketing_dsn, 'alter schema public rename to "Box Office"')
    dsn = make_dsn(ticketing_dsn, options="-c acl.ticketing_schema=Box\\ Office")
    execute(dsn, EXPORT_ROLE_SQL)
    extraction = extract(replace(extractable, ticketing_schema="Box Office"))
    assert extraction.tables["tickets"].rows == extraction.tables["tickets"].rows_at_source > 0


def test_all_tables_are_of_one_instant(extractable: Settings, ticketing_dsn: str) -> None:
    """A sale between two tables must not leave tickets without a purchase."""
    open_sale(ticketing_dsn)
    before = {table: source_rows(ticketing_dsn, table) for table in SOURCE_TABLES}

    def sell() -> None:
        with session(ticketing_dsn) as buyer:
            buy(buyer, tickets=3)
            run(buyer, "update bands set fee = fee + 1")
        buyer.close()

    with when_logged("bands:", sell):
        folder = Path(extract(extractable).folder)
    for table in SOURCE_TABLES:
        assert sorted(parquet_rows(folder / f"{table}.parquet")) == before[table]
    assert source_rows(ticketing_dsn, "tickets") != before["tickets"]


def test_figures_published_from_an_extract_are_those_of_the_source(extractable: Settings, ticketing_dsn: str) -> None:
    """The round trip: what people read is what SQL says in the ticketing database, after every kind of batch."""
    by_venue = "select {venue}, count(*), sum({price}) from {tables} group by {venue} order by 1"
    at_source = by_venue.format(
        venue="venue_id", price="price", tables="tickets join performances on performances.id = performance_id"
    )
    published = by_venue.format(venue="venue_id", price="ticket_price", tables="star_schema.fct_ticket_sales")
    kinds = []
    for correction in (
        "select",
        "update tickets set price = 40 where id % 10 = 0",
        "delete from tickets where id % 9 = 0",
    ):
        execute(ticketing_dsn, correction)
        kinds.append(extract(extractable).kind)
        refreshed = refresh(extractable)
        assert refreshed.success, refreshed.errors
        assert published_rows(extractable, published) == execute(ticketing_dsn, at_source)
    assert kinds == ["full", "incremental", "full"]


# Incremental batches ------------------------------------------------------------------------------------------


def test_the_next_batch_holds_what_changed(extractable: Settings, ticketing_dsn: str) -> None:
    open_sale(ticketing_dsn)
    first = extract(extractable)
    with closing(session(ticketing_dsn)) as buyer:
        buy(buyer, tickets=2)
        run(buyer, "update tickets set price = 40 where id = 7")
        buyer.commit()
    second = extract(extractable)
    assert second.kind == "incremental"
    assert {name: table.rows for name, table in second.tables.items() if table.rows} == {"purchases": 1, "tickets": 3}
    batch = landed_chain(extractable).newest
    assert batch.continues_from is not None
    assert batch.continues_from.batch_id == first.batch_id
    assert batch.tables["bands"].files == ()
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


def test_a_late_commit_is_not_missed_where_the_highest_id_would_miss_it(
    extractable: Settings, ticketing_dsn: str
) -> None:
    """Ids are given out before the commit: a slow buyer's tickets have lower ids than those that landed before them."""
    open_sale(ticketing_dsn)
    with closing(session(ticketing_dsn)) as slow, closing(session(ticketing_dsn)) as quick:
        buy(slow, tickets=5)
        buy(quick, tickets=1)
        quick.commit()
        extract(extractable)
        highest = max(row[0] for row in merged_rows(extractable, "tickets"))
        slow.commit()
        buy(quick, tickets=1)
        quick.commit()
    after_highest = {row[0] for row in source_rows(ticketing_dsn, "tickets") if row[0] > highest}
    landed = {row[0] for row in merged_rows(extractable, "tickets")}
    lost = {row[0] for row in source_rows(ticketing_dsn, "tickets")} - landed - after_highest
    assert len(lost) == 5, "the highest id as a mark was to lose the slow buyer's tickets"

    assert extract(extractable).kind == "incremental"
    for table in SOURCE_TABLES:
        assert merged_rows(extractable, table) == source_rows(ticketing_dsn, table)


def test_rows_read_twice_are_there_once(extractable: Settings, ticketing_dsn: str) -> None:
    """While a transaction stays open the horizon does too, and what was committed since comes with every batch."""
    open_sale(ticketing_dsn)
    with closing(session(ticketing_dsn)) as slow, closing(session(ticketing_dsn)) as quick:
        buy(slow)
        buy(quick, tickets=4)
        quick.commit()
        extract(extractable)
        second, third = extract(extractable), extract(extractable)
        assert (second.tables["tickets"].rows, third.tables["tickets"].rows) == (4, 4)
        slow.commit()
    assert extract(extractable).tables["tickets"].rows == 5
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


@pytest.mark.parametrize("seed", range(3))
def test_any_history_of_interleaved_sessions_arrives(extractable: Settings, ticketing_dsn: str, seed: int) -> None:
    """Sales, corrections, roll-backs and savepoints of sessions that commit in any order, with extracts in between."""
    open_sale(ticketing_dsn)
    chance = random.Random(seed)
    sessions = [session(ticketing_dsn) for _ in range(5)]
    extract(extractable)
    kinds = []
    for step in range(120):
        buyer = chance.choice(sessions)
        # Sessions correct tickets of their own, or they would wait for each other.
        own = f"id % {len(sessions)} = {sessions.index(buyer)}"
        deed = chance.randrange(7)
        if deed <= 1:
            buy(buyer, tickets=chance.randint(1, 4))
        elif deed == 2:
            run(buyer, f"update tickets set price = price + 5 where {own} and id % 97 = {chance.randrange(97)}")
        elif deed == 3:
            run(buyer, "savepoint halfway")
            buy(buyer)
            run(buyer, chance.choice(["rollback to halfway", "release halfway"]))
        elif deed <= 5:
            chance.choice([buyer.commit, buyer.commit, buyer.rollback])()
        if step % 20 == 19:
            kinds.append(extract(extractable).kind)
            for table in ("purchases", "tickets"):
                assert merged_rows(extractable, table) == source_rows(ticketing_dsn, table)
    for buyer in sessions:
        buyer.close()
    assert set(kinds) == {"incremental"}


def test_a_purchase_made_during_the_extract_is_in_the_next_one(extractable: Settings, ticketing_dsn: str) -> None:
    open_sale(ticketing_dsn)
    with closing(session(ticketing_dsn)) as buyer:
        buy(buyer, tickets=2)
        with when_logged("purchases:", buyer.commit):
            extract(extractable)
    assert len(merged_rows(extractable, "tickets")) == len(source_rows(ticketing_dsn, "tickets")) - 2
    assert extract(extractable).kind == "incremental"
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


def test_transaction_ids_may_wrap_around(tmp_path: Path, settings: Settings) -> None:
    """They have 32 bits on disk: after four billion transactions the newest rows have the smallest ids."""
    with server_folder() as folder, running_postgres(folder / "data", configuration=QUICK) as server:
        dsn = server.dsn()
        create_schema(dsn)
        load_history(dsn, TicketingHistory(SMALL))
        open_sale(dsn)
        for next_xid in (1_500_000_000, 3_000_000_000, 2**32 - 30):
            advance_transactions(server, next_xid)
        extractable = replace(settings, ticketing_dsn=make_export_role(dsn), extract_mb_per_s=0.0)
        kinds = [extract(extractable).kind]
        for _ in range(4):
            for _ in range(15):
                with session(dsn) as buyer:
                    buy(buyer)
                    run(buyer, "update tickets set price = price + 5 where id % 50 = 0")
                buyer.close()
            kinds.append(extract(extractable).kind)
            assert merged_rows(extractable, "tickets") == source_rows(dsn, "tickets")
        assert execute(dsn, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")[0][0] > 2**32
    assert kinds == ["full", *["incremental"] * 4]


def advance_transactions(server: PostgresServer, next_xid: int) -> None:
    """Make a server give out transaction ids from `next_xid` on, no further than half the circle from the last."""
    execute(server.dsn(), "alter database template0 with allow_connections true")
    for (name,) in execute(server.dsn(), "select datname from pg_database"):
        execute(server.dsn(name), "vacuum freeze")
    server.stop()
    owner = server.data_dir.stat()
    # A server expects a page of commit states for the ids it begins with; one file holds those of 2^20 transactions.
    states = server.data_dir / "pg_xact" / f"{next_xid >> 20:04X}"
    states.write_bytes(bytes(262_144))
    os.chown(states, owner.st_uid, owner.st_gid)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    command = [str(server.bin_dir / "pg_resetwal"), "-x", str(next_xid), "-D", str(server.data_dir)]
    subprocess.run(command, check=True, capture_output=True, cwd=server.data_dir, **identity)
    server.start()


# A full batch instead -----------------------------------------------------------------------------------------


def test_deleted_rows_make_the_next_batch_a_full_one(extractable: Settings, ticketing_dsn: str) -> None:
    """A deleted row leaves nothing to export; the counts show that it is gone."""
    open_sale(ticketing_dsn)
    first = extract(extractable)
    with closing(session(ticketing_dsn)) as buyer:
        run(buyer, "delete from tickets where id % 100 = 1")
        # As many come as go, so that the table's count alone shows nothing.
        buy(
            buyer, tickets=len(source_rows(ticketing_dsn, "tickets")) - run(buyer, "select count(*) from tickets")[0][0]
        )
        buyer.commit()
    second = extract(extractable)
    assert second.kind == "full"
    assert second.full_because is not None
    assert f"rows of tickets have been deleted since batch {first.batch_id}" in second.full_because
    assert folders(extractable) == [first.batch_id, second.batch_id]
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


def test_a_full_batch_is_taken_when_asked_for(extractable: Settings) -> None:
    extract(extractable)
    assert extract(extractable, full=True).full_because == "it was asked for"


def test_a_full_batch_is_taken_when_the_last_one_is_old(extractable: Settings) -> None:
    extract(extractable)
    assert extract(extractable).kind == "incremental"
    weekly = extract(replace(extractable, full_extract_days=0.04))
    assert weekly.full_because is not None
    assert "is as old as ACL_FULL_EXTRACT_DAYS allows" in weekly.full_because


@pytest.mark.parametrize("land", [land_batch, land_plain_batch])
def test_a_batch_of_somebody_else_is_not_continued(extractable: Settings, land: Callable[..., Path]) -> None:
    land(extractable)
    assert extract(extractable).full_because == (
        "batch first records no snapshot of a PostgreSQL server to continue from"
    )


def test_a_bad_batch_is_overcome_by_a_full_one(extractable: Settings) -> None:
    """The landing zone's rule is that a newer full batch gets past a bad one; so the extract must bring one."""
    first = extract(extractable)
    (Path(first.folder) / "manifest.json").write_text("{")
    extraction = extract(extractable)
    assert extraction.kind == "full"
    assert extraction.full_because is not None
    assert "the landing zone's state cannot be continued" in extraction.full_because


def test_another_database_is_not_taken_for_the_same(
    extractable: Settings, postgres_server: PostgresServer, ticketing_template: str
) -> None:
    """After a dump and restore the tables look the same, and every transaction id means something else."""
    extract(extractable)
    with database(postgres_server, ticketing_template) as restored:
        extraction = extract(replace(extractable, ticketing_dsn=make_export_role(restored)))
    assert extraction.full_because is not None
    assert extraction.full_because.startswith("the database is test_")


def test_a_batch_that_lands_meanwhile_is_not_passed_over(extractable: Settings) -> None:
    """An incremental batch continues from one certain batch; behind another one it would break every refresh."""
    first = extract(extractable)
    instant = landed_chain(extractable).newest.exported_at + timedelta(milliseconds=1)

    def land_another() -> None:
        land_batch(extractable, "another", exported_at=instant)

    with when_logged("tickets:", land_another), pytest.raises(ExtractionError, match="is no longer the newest"):
        extract(extractable)
    assert folders(extractable) == ["another", first.batch_id]


def test_extract_is_refused_when_it_would_be_ordered_before_the_newest_batch(extractable: Settings) -> None:
    """Batches are ordered by export time: one before a batch with a wrong clock would never be used."""
    extract(extractable)
    soon = landed_chain(extractable).newest.exported_at + timedelta(minutes=10)
    land_batch(extractable, "soon", exported_at=soon)
    with pytest.raises(SourceBehindError, match="if that batch's clock was wrong, take it out"):
        extract(extractable)


def test_extract_continues_the_chain_when_a_batch_of_the_future_has_landed(extractable: Settings) -> None:
    first = extract(extractable)
    tomorrow = landed_chain(extractable).newest.exported_at + timedelta(days=1)
    land_batch(extractable, "tomorrow", exported_at=tomorrow)
    second = extract(extractable)
    assert (second.kind, second.full_because) == ("incremental", None)
    assert [batch.batch_id for batch in landed_chain(extractable).batches] == [first.batch_id, second.batch_id]


# What goes wrong in the middle --------------------------------------------------------------------------------


def assert_failed_cleanly_and_succeeds_again(extractable: Settings, dsn: str) -> None:
    assert folders(extractable) == []
    extract(extractable)
    assert merged_rows(extractable, "tickets") == source_rows(dsn, "tickets")


def test_a_terminated_session_leaves_nothing(extractable: Settings, ticketing_dsn: str) -> None:
    def cut() -> None:
        execute(ticketing_dsn, f"select pg_terminate_backend({backend_of_extract(ticketing_dsn)}, 5000)")

    with (
        when_logged("people:", cut),
        pytest.raises(ExtractionError, match=r"Failed to count purchases at .*terminating connection.*extract again"),
    ):
        extract(extractable)
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_a_session_cut_while_rows_are_sent_leaves_nothing(extractable: Settings, ticketing_dsn: str) -> None:
    execute(ticketing_dsn, "insert into people (name) select repeat('x', 100) from generate_series(1, 300000)")

    class Cut(threading.Thread):
        def run(self) -> None:
            query = (
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
                "and state = 'active' and query ilike 'copy%people%'"
            )
            wait_until(lambda: bool(execute(ticketing_dsn, query)), "the table is read")

    cut = Cut()
    with when_logged("performances:", cut.start), pytest.raises(ExtractionError, match="Failed to read people at"):
        extract(replace(extractable, extract_mb_per_s=2.0))
    cut.join()
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restarted_server_leaves_nothing(settings: Settings, mode: str) -> None:
    with server_folder() as folder, running_postgres(folder / "data", configuration=QUICK) as server:
        create_schema(server.dsn())
        load_history(server.dsn(), TicketingHistory(SMALL))
        extractable = replace(settings, ticketing_dsn=make_export_role(server.dsn()), extract_mb_per_s=0.0)
        with (
            when_logged("purchases:", lambda: server.restart(mode)),
            pytest.raises(ExtractionError, match=r"Failed to count tickets at .*extract again when the server is back"),
        ):
            extract(extractable)
        assert_failed_cleanly_and_succeeds_again(extractable, server.dsn())


def test_revoked_rights_leave_nothing_and_the_error_says_how_to_grant_them(
    extractable: Settings, ticketing_dsn: str
) -> None:
    def revoke() -> None:
        execute(ticketing_dsn, "revoke select on tickets from acl_export")

    with (
        when_logged("purchases:", revoke),
        pytest.raises(RoleError, match=r"count tickets at .*permission denied for table tickets.*export_role\.sql"),
    ):
        extract(extractable)
    execute(ticketing_dsn, EXPORT_ROLE_SQL)
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def extract_in_a_process(settings: Settings, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Run the command line in a process of its own."""
    variables = {
        **environment(settings),
        "ACL_TICKETING_DSN": settings.ticketing_dsn or "",
        "ACL_EXTRACT_MB_PER_S": str(settings.extract_mb_per_s),
    }
    command = [sys.executable, "-m", "acl_assets.extraction.extract", *arguments]
    return subprocess.Popen(
        command, cwd=PROJECT_DIR, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def test_a_full_disk_leaves_nothing_and_the_error_says_where(extractable: Settings, ticketing_dsn: str) -> None:
    """A limit on the size of files is refused by the system as a full disk is."""

    def allow_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    process = extract_in_a_process(extractable, preexec_fn=allow_small_files)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "ERROR: " in told
    assert ".parquet cannot be written: File too large" in told
    assert "MB are free there" in told
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_extract_removes_what_it_began(
    extractable: Settings, ticketing_dsn: str, number: signal.Signals
) -> None:
    process = extract_in_a_process(extractable, "--mb-per-second", "0.02")
    wait_until(lambda: any(extractable.exports_dir.glob("*/tickets.parquet")), "tickets are read")
    assert len(folders(extractable)) == 1
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "The extract was cancelled; nothing was landed." in told
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_a_killed_extract_is_no_batch_and_the_next_one_removes_it(extractable: Settings, ticketing_dsn: str) -> None:
    process = extract_in_a_process(extractable, "--mb-per-second", "0.02")
    wait_until(lambda: any(extractable.exports_dir.glob("*/tickets.parquet")), "tickets are read")
    process.kill()
    process.communicate(timeout=120)
    (left_over,) = folders(extractable)
    extraction = extract(extractable)
    assert extraction.full_because == "no full batch has landed yet"
    assert folders(extractable) == [extraction.batch_id] != [left_over]
    assert merged_rows(extractable, "tickets") == source_rows(ticketing_dsn, "tickets")


def test_the_command_prints_the_new_folder(extractable: Settings) -> None:
    process = extract_in_a_process(extractable, "--full")
    printed, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert printed.strip() == landed_chain(extractable).newest.folder
    assert "INFO: Landed full batch" in told


def test_extract_removes_only_folders_that_an_extract_left_unfinished(extractable: Settings) -> None:
    (extractable.exports_dir / "ticketing-by-hand").mkdir(parents=True)
    (extractable.exports_dir / "ticketing-by-hand" / "bands.csv").touch()
    extraction = extract(extractable)
    assert folders(extractable) == [extraction.batch_id, "ticketing-by-hand"]


def test_extract_continues_the_chain_beside_entries_that_are_no_batches(
    extractable: Settings, ticketing_dsn: str
) -> None:
    """Names of extracts are no exception: a link, a file, a complete batch with a left-over mark."""
    first = extract(extractable)
    (Path(first.folder) / UNFINISHED_MANIFEST_NAME).touch()
    landing_zone = Path(extractable.exports_dir)
    elsewhere = begin_batch(landing_zone.parent / "elsewhere", "marked")
    (landing_zone / "ticketing-link").symlink_to(elsewhere)
    (landing_zone / "ticketing-loop").symlink_to("ticketing-loop")
    (landing_zone / "ticketing-gone").symlink_to("nowhere")
    (landing_zone / "ticketing-file").touch()
    os.mkfifo(landing_zone / "ticketing-fifo")
    (landing_zone / "ticketing-empty").mkdir()
    (landing_zone / os.fsdecode(b"ticketing-\xff")).mkdir()
    (landing_zone / f"ticketing-{'x' * 240}").mkdir()
    (landing_zone / "tickets.csv").write_text("id\n")
    for planted in ("ticketing-manifest-fifo", "ticketing-manifest-folder"):
        (landing_zone / planted).mkdir()
    os.mkfifo(landing_zone / "ticketing-manifest-fifo" / MANIFEST_NAME)
    (landing_zone / "ticketing-manifest-folder" / MANIFEST_NAME).mkdir()
    before = folders(extractable)

    execute(ticketing_dsn, "insert into bands (name, fee) values ('Late', 1)")
    second = extract(extractable)
    assert (second.kind, second.full_because) == ("incremental", None)
    assert [batch.batch_id for batch in landed_chain(extractable).batches] == [first.batch_id, second.batch_id]
    assert folders(extractable) == sorted([*before, second.batch_id])
    assert [path.name for path in elsewhere.iterdir()] == [UNFINISHED_MANIFEST_NAME]


def test_extract_ignores_folders_that_it_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    landing_zone = tmp_path / "exports"
    unreadable = begin_batch(landing_zone, "ticketing-unreadable")
    for folder, mode in ((unreadable, 0o000), (landing_zone, 0o777), (tmp_path, 0o755)):
        folder.chmod(mode)
    try:
        as_ordinary_user(partial(remove_left_overs, Path("exports")))
    finally:
        unreadable.chmod(0o755)
    assert [path.name for path in unreadable.iterdir()] == [UNFINISHED_MANIFEST_NAME]


def test_left_over_that_cannot_be_removed_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's extract was killed."""
    monkeypatch.chdir(tmp_path)
    landing_zone = tmp_path / "exports"
    foreign = begin_batch(landing_zone, "ticketing-foreign")
    for folder, mode in ((foreign, 0o555), (landing_zone, 0o777), (tmp_path, 0o755)):
        folder.chmod(mode)
    try:
        with pytest.raises(ExtractionError, match=r"exports/ticketing-foreign .*Permission denied"):
            as_ordinary_user(partial(remove_left_overs, Path("exports")))
    finally:
        foreign.chmod(0o755)


def test_there_is_one_extract_at_a_time(extractable: Settings) -> None:
    with (
        only_extract(extractable.exports_dir),
        pytest.raises(ExtractionError, match=r"Another extract into .* is running"),
    ):
        extract(extractable)
    assert extract(extractable).kind == "full"


# Gentle to the server -----------------------------------------------------------------------------------------


def test_reading_takes_as_long_as_the_pace_says(extractable: Settings) -> None:
    """The server waits for its reader. How exactly the pace is kept is measured elsewhere; here, that it is kept."""
    quick = extract(extractable, full=True)
    paced = extract(extractable, full=True, mb_per_s=0.1)
    table = paced.tables["tickets"]
    assert paced.seconds > table.rows * 50 / 0.1e6 > quick.seconds


def test_a_change_of_structure_does_not_wait_for_the_extract(extractable: Settings, ticketing_dsn: str) -> None:
    """Whoever alters a table waits for its readers, and all buyers wait behind: the extract gives way."""
    altering = threading.Thread(target=execute, args=(ticketing_dsn, "alter table bands add column genre text"))

    def alter() -> None:
        altering.start()
        query = "select 1 from pg_locks where not granted and relation = 'bands'::regclass"
        wait_until(lambda: bool(execute(ticketing_dsn, query)), "the change waits")

    with when_logged("bands:", alter), pytest.raises(ExtractionError, match="It gave way; extract again"):
        extract(extractable, limits=EVERY_BATCH)
    altering.join(60)
    assert not altering.is_alive()
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_a_locked_table_is_not_waited_for(extractable: Settings, ticketing_dsn: str) -> None:
    """Behind a reader that waits for a lock, buyers would wait too."""
    with closing(session(ticketing_dsn)) as owner:
        run(owner, "lock table tickets in access exclusive mode")
        with pytest.raises(ExtractionError, match=r"lock timeout. Somebody changes the table's structure"):
            extract(extractable, limits=StressLimits(canary_ceiling_ms=(1e9, 1e9)))
    assert_failed_cleanly_and_succeeds_again(extractable, ticketing_dsn)


def test_the_extract_imports_nothing_that_takes_memory() -> None:
    """Its process stays below 300 MB with all it imports."""
    code = (
        "import sys, acl_assets.extraction.extract; "
        "print([name for name in ('pandas', 'duckdb', 'dagster', 'dbt', 'pyarrow.dataset') if name in sys.modules])"
    )
    imported = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == "[]"


# Standbys -----------------------------------------------------------------------------------------------------


def test_a_standby_is_preferred_and_followed_through_a_failover(settings: Settings) -> None:
    with server_folder() as folder, running_postgres(folder / "primary", configuration=QUICK) as primary:
        create_schema(primary.dsn())
        load_history(primary.dsn(), TicketingHistory(SMALL))
        open_sale(primary.dsn())
        make_export_role(primary.dsn())
        with running_postgres(folder / "standby", standby_of=primary) as standby:
            extractable = replace(
                settings,
                ticketing_dsn=primary.dsn(user="acl_export"),
                ticketing_standby_dsn=standby.dsn(user="acl_export"),
                extract_mb_per_s=0.0,
            )
            first = extract(extractable)
            assert (first.kind, first.source_snapshot["in_recovery"]) == ("full", True)
            sell_one(primary.dsn())
            wait_until_followed(primary.dsn(), standby.dsn())
            second = extract(extractable)
            assert (second.kind, second.source_snapshot["in_recovery"]) == ("incremental", True)
            assert second.tables["tickets"].rows == 1

            # The primary continues what was read from its standby, and the other way around.
            sell_one(primary.dsn())
            from_primary = extract(replace(extractable, ticketing_standby_dsn=None))
            assert (from_primary.kind, from_primary.source_snapshot["in_recovery"]) == ("incremental", False)
            sell_one(primary.dsn())
            wait_until_followed(primary.dsn(), standby.dsn())
            assert extract(extractable).kind == "incremental"
            assert merged_rows(extractable, "tickets") == source_rows(primary.dsn(), "tickets")

            # What the standby has not replayed yet is read from the primary.
            execute(standby.dsn(), "select pg_wal_replay_pause()")
            sell_one(primary.dsn())
            extract(replace(extractable, ticketing_standby_dsn=None))
            with when_logged("Extracting from the primary instead of the standby", lambda: None):
                fallen_back = extract(extractable)
            assert fallen_back.source_snapshot["in_recovery"] is False
            execute(standby.dsn(), "select pg_wal_replay_resume()")
            wait_until_followed(primary.dsn(), standby.dsn())

            primary.stop()
            execute(standby.dsn(), "select pg_promote()")
            sell_one(standby.dsn())
            after_failover = extract(extractable)
            assert after_failover.full_because is not None
            assert after_failover.full_because.startswith("the cluster's timeline is 2 where")
            assert merged_rows(extractable, "tickets") == source_rows(standby.dsn(), "tickets")


def sell_one(dsn: str) -> None:
    with closing(session(dsn)) as buyer:
        buy(buyer)
        buyer.commit()


def wait_until_followed(primary: str, standby: str) -> None:
    (written,) = execute(primary, "select pg_current_wal_lsn()")[0]
    query = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
    wait_until(lambda: bool(execute(standby, query, [written])[0][0]), "the standby has caught up")


def test_the_primary_is_read_when_the_standby_cannot_be_reached(extractable: Settings) -> None:
    unreachable = replace(extractable, ticketing_standby_dsn="postgresql://acl_export@127.0.0.1:1/ticketing")
    with when_logged("Extracting from the primary instead of the standby", lambda: None) as messages:
        assert extract(unreachable).kind == "full"
    assert any("No connection to 127.0.0.1:1/ticketing (user acl_export)" in message for message in messages)


# Addresses and their secrets ----------------------------------------------------------------------------------


def test_without_an_address_the_error_says_which_setting_is_missing(settings: Settings) -> None:
    with pytest.raises(ExtractionError, match="ACL_TICKETING_DSN is not set"):
        extract(settings)


@pytest.mark.parametrize(
    "address",
    ["postgresql://acl_export:geheim@127.0.0.1:1/x", "host=127.0.0.1 port=1 password=geheim", "geheim", "x=geheim"],
)
def test_passwords_are_not_told(settings: Settings, address: str) -> None:
    with pytest.raises(SourceUnreachableError) as raised:
        extract(replace(settings, ticketing_dsn=address))
    assert "geheim" not in str(raised.value)
    assert "geheim" not in repr(replace(settings, ticketing_dsn=address))


def test_passwords_are_in_no_file_and_no_message(extractable: Settings, ticketing_dsn: str) -> None:
    secret = "geheim-sesame"  # noqa: S105 # of a server that ends with the test
    with_password = replace(extractable, ticketing_dsn=make_dsn(extractable.ticketing_dsn, password=secret))
    with when_logged("Landed", lambda: None) as messages:
        folder = Path(extract(with_password).folder)
    assert secret not in "".join(messages)
    assert not [path for path in folder.iterdir() if secret.encode() in path.read_bytes()]
