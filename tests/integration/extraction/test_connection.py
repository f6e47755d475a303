"""The connection of an extract: guarded by what was set, and by a role that is refused when it could write."""

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest
from extracts import EXPORT_ROLE_SQL, make_export_role, source_rows
from postgres import execute
from psycopg2.extensions import make_dsn

from acl_assets.extraction.connection import GUARD_RAILS, SourceConnection, begin_reading, require_guard_rails
from acl_assets.extraction.export_role import require_export_role
from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.settings import PROJECT_DIR, Settings
from acl_assets.source_schema import SOURCE_TABLES

pytestmark = pytest.mark.server


def try_role(dsn: str) -> None:
    with closing(SourceConnection(dsn)) as source:
        require_export_role(source, "public")


def test_file_makes_a_role_that_reads_the_declared_tables_and_makes_a_wrong_role_right(ticketing_dsn: str) -> None:
    execute(ticketing_dsn, "create table payments (id int, card text)")
    dsn = make_export_role(ticketing_dsn)
    execute(ticketing_dsn, "grant all on all tables in schema public to acl_export")
    execute(ticketing_dsn, "grant create on schema public to acl_export")
    execute(ticketing_dsn, "alter role acl_export createdb createrole connection limit 50")
    with pytest.raises(ExtractionError):
        try_role(dsn)
    execute(ticketing_dsn, EXPORT_ROLE_SQL)
    try_role(dsn)
    assert execute(ticketing_dsn, "select rolconnlimit from pg_roles where rolname = 'acl_export'") == [(2,)]
    query = (
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' "
        "and has_table_privilege('acl_export', oid, 'SELECT')"
    )
    assert {name for (name,) in execute(ticketing_dsn, query)} == set(SOURCE_TABLES)


POWERS = (
    ("alter role {role} superuser", "{role} is a superuser"),
    ("grant update (price) on tickets to {role}", "{role} has UPDATE on tickets"),
    ("grant maintain on tickets to {role}", "{role} has MAINTAIN on tickets"),
    ("grant create on schema public to {role}", "{role} may create objects in schema public"),
    ("grant create on database {database} to {role}", "{role} may create schemas in the database"),
    ("grant pg_write_all_data to {role}", "it is a member of pg_write_all_data"),
    ("grant {writer} to {role} with inherit false", "{writer} has UPDATE on tickets"),
)


def test_role_that_could_write_is_refused_with_its_right(ticketing_dsn: str) -> None:
    ((database,),) = execute(ticketing_dsn, "select current_database()")
    names = {"role": f"trial_{database}", "writer": f"writer_{database}", "database": database}
    dsn = make_dsn(ticketing_dsn, user=names["role"])
    for statement, reason in POWERS:
        execute(ticketing_dsn, "create role {role} login; create role {writer}".format(**names))
        execute(ticketing_dsn, "grant select on all tables in schema public to {role}".format(**names))
        execute(ticketing_dsn, "grant update on tickets to {writer}".format(**names))
        try_role(dsn)
        execute(ticketing_dsn, statement.format(**names))
        with pytest.raises(ExtractionError, match=r"Make the right role with .*export_role\.sql") as raised:
            try_role(dsn)
        assert reason.format(**names) in str(raised.value)
        for role in (names["role"], names["writer"]):
            execute(ticketing_dsn, f"reassign owned by {role} to postgres; drop owned by {role}; drop role {role}")


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (
            "revoke select on people, tickets from acl_export",
            r"may not read people, tickets\. Grant it with .*role\.sql",
        ),
        ("revoke usage on schema public from acl_export, public", r"permission denied for schema .* Grant .*role\.sql"),
        (
            "alter table tickets rename to ticket; create view tickets as select * from ticket",
            "Schema public at .* has no table tickets, and a view is not enough",
        ),
        ("alter schema public rename to office", "There is no schema public at .*set ACL_TICKETING_SCHEMA"),
        (
            "update purchases set purchase_date = 'infinity' where id = 3",
            "purchase_date of the row with id 3 is not an instant of the years 1 to 9999.*correct the value",
        ),
        ("alter table tickets rename ticketnum to number", r'column "ticketnum" does not exist.*source_schema\.py'),
        ("alter table tickets rename column price to dollars", r'column "price" does not exist.*source_schema\.py'),
        ("alter table tickets alter column price type numeric", r"price is numeric, not int.*source_schema\.py"),
        (
            "alter role acl_export reset row_security; alter table tickets enable row level security; "
            "create policy even on tickets for select using (id % 2 = 0)",
            "would be affected by row-level security policy for table .*tickets",
        ),
    ],
    ids=lambda text: text.split(" ")[1],
)
def test_source_that_cannot_be_read_as_declared_is_refused(
    extractable: Settings, ticketing_dsn: str, statements: str, error: str
) -> None:
    execute(ticketing_dsn, statements)
    with pytest.raises(ExtractionError, match=error):
        extract(extractable)


def test_tables_with_row_security_are_read_by_a_role_that_may_read_all_rows(
    extractable: Settings, ticketing_dsn: str
) -> None:
    execute(ticketing_dsn, "alter table tickets enable row level security; alter role acl_export bypassrls")
    try:
        assert extract(extractable).tables["tickets"].rows == len(source_rows(ticketing_dsn, "tickets"))
    finally:
        execute(ticketing_dsn, "alter role acl_export nobypassrls")


def test_transaction_is_guarded_whatever_the_role_was_set_to(ticketing_dsn: str, export_dsn: str) -> None:
    """A role made by hand may lack its settings, or have others."""
    execute(ticketing_dsn, "alter role acl_export reset all; alter role acl_export set statement_timeout = '1s'")
    with closing(SourceConnection(export_dsn)) as source:
        begin_reading(source, "public")
        require_guard_rails(source)
        with pytest.raises(ExtractionError, match="cannot execute CREATE TABLE in a read-only transaction"):
            source.rows("create temporary table scratch (id int)", "try to write")


def test_transaction_that_lost_its_guard_rails_is_refused(ticketing_dsn: str, export_dsn: str) -> None:
    """As behind a connection pooler that gives every statement another connection; the role's settings stay."""
    with closing(SourceConnection(export_dsn)) as source:
        begin_reading(source, "public")
        source.rows("commit", "end the transaction")
        with pytest.raises(ExtractionError, match=r"is read committed.*without a connection pooler") as raised:
            require_guard_rails(source)
    assert not [name for name in GUARD_RAILS if f"{name} is" in str(raised.value)]


def test_error_of_a_lost_connection_has_its_reason(ticketing_dsn: str, export_dsn: str) -> None:
    """The driver puts the query before the reason, and only the server's own messages have a severity."""
    with closing(SourceConnection(export_dsn)) as source:
        (session,) = source.rows("select pg_backend_pid() as pid", "ask")
        execute(ticketing_dsn, f"select pg_terminate_backend({session['pid']}, 5000)")
        for reason in ("terminating connection", "no connection"):
            with pytest.raises(ExtractionError, match=rf"Failed to ask at [^ ]+ \(user acl_export\): {reason}"):
                source.rows("select\n 1 as one", "ask")


def test_server_that_hangs_is_not_waited_for_without_end(export_dsn: str) -> None:
    """The machine still answers for the stopped process, as a proxy does that no longer forwards."""
    script = (
        "import os, signal, sys\n"
        "from acl_assets.extraction import connection\n"
        "connection._LONGEST_ANSWER_SECONDS = 2.0\n"
        "source = connection.SourceConnection(sys.argv[1])\n"
        "session = source.rows('select pg_backend_pid() as pid', 'ask')[0]['pid']\n"
        "print(session, flush=True)\n"
        "os.kill(session, signal.SIGSTOP)\n"
        "source.rows('select 1', 'ask')\n"
    )
    command = [sys.executable, "-c", script, export_dsn]
    process = subprocess.Popen(command, cwd=PROJECT_DIR, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    session = int(process.stdout.readline())
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        os.kill(session, signal.SIGCONT)
    assert (process.returncode, "has not answered for 2 s" in errors) == (1, True)


def test_slices_of_a_relation_hold_each_row_once_and_all_its_bytes(ticketing_dsn: str, export_dsn: str) -> None:
    for statement in (
        "create table halves (id int, name text) partition by range (id)",
        "create table lower_half partition of halves for values from (0) to (20000)",
        "create table upper_half partition of halves for values from (20000) to (maxvalue)",
        "insert into halves select number, repeat('x', 100) from generate_series(1, 30000) as number",
        "create table years (like halves)",
        "create table year_2003 () inherits (years)",
        "insert into year_2003 select * from lower_half",
        "grant select on halves, lower_half, years to acl_export",
    ):
        execute(ticketing_dsn, statement)
    with closing(SourceConnection(export_dsn)) as source:
        for relation, rows_wanted, parts in (
            ("lower_half", 19_999, ["lower_half"]),
            ("halves", 30_000, ["lower_half", "upper_half"]),
            ("years", 19_999, ["year_2003"]),
        ):
            slices = source.slices(relation, "measure it")
            queries = [f"select count(*) as n from {relation} where {where}" for where, _ in slices]
            rows = [source.rows(query, "count")[0]["n"] for query in queries]
            assert (len(slices), sum(rows), min(rows) > 0) == (6, rows_wanted, True)
            query = "select sum(pg_relation_size(name::regclass)) from unnest(%s) as name"
            ((size,),) = execute(ticketing_dsn, query, [parts])
            assert size - len(slices) < sum(size for _, size in slices) <= size
