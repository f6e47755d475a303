"""The connection of an extract: guarded by what was set, and by a role that is refused when it could write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from extracts import EXPORT_ROLE_SQL, make_export_role
from postgres import execute
from psycopg2.extensions import make_dsn

from acl_assets.extraction.connection import (
    GUARD_RAILS,
    SourceConnection,
    begin_reading,
    require_export_role,
    require_guard_rails,
)
from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError, RoleError, SourceUnreachableError
from acl_assets.settings import Settings

pytestmark = pytest.mark.server


def try_role(dsn: str) -> None:
    with SourceConnection(dsn) as source:
        require_export_role(source, "public")


# The role -----------------------------------------------------------------------------------------------------


def test_the_role_of_the_file_is_accepted(export_dsn: str) -> None:
    try_role(export_dsn)


def test_the_file_can_be_run_again_and_makes_a_wrong_role_right(ticketing_dsn: str, export_dsn: str) -> None:
    execute(ticketing_dsn, "grant all on all tables in schema public to acl_export")
    execute(ticketing_dsn, "grant create on schema public to acl_export")
    execute(ticketing_dsn, "alter role acl_export createdb createrole connection limit 50")
    with pytest.raises(RoleError):
        try_role(export_dsn)
    execute(ticketing_dsn, EXPORT_ROLE_SQL)
    try_role(export_dsn)
    assert execute(ticketing_dsn, "select rolconnlimit from pg_roles where rolname = 'acl_export'") == [(2,)]


def test_the_role_has_its_guard_rails_in_every_session(export_dsn: str) -> None:
    """Also when somebody connects with it by hand."""
    for name, value in {**GUARD_RAILS, "default_transaction_read_only": "on"}.items():
        ((found,),) = execute(export_dsn, f"show {name}")
        assert found in {value, "1min" if value == "60s" else value}


def test_the_role_reads_six_tables_and_no_other(ticketing_dsn: str) -> None:
    execute(ticketing_dsn, "create table payments (id int, card text)")
    make_export_role(ticketing_dsn)
    query = (
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' "
        "and has_table_privilege('acl_export', oid, 'SELECT') order by 1"
    )
    readable = [name for (name,) in execute(ticketing_dsn, query)]
    assert readable == ["bands", "people", "performances", "purchases", "tickets", "venues"]


POWERS = {
    "superuser": ("alter role {role} superuser", "{role} is a superuser"),
    "createdb": ("alter role {role} createdb", "{role} may create databases"),
    "createrole": ("alter role {role} createrole", "{role} may create roles"),
    "replication": ("alter role {role} replication", "{role} may replicate"),
    "bypassrls": ("alter role {role} bypassrls", "{role} goes around row security"),
    "insert": ("grant insert on tickets to {role}", "{role} has INSERT on tickets"),
    "insert into a column": ("grant insert (name) on bands to {role}", "{role} has INSERT on bands"),
    "update": ("grant update on bands to {role}", "{role} has UPDATE on bands"),
    "update of a column": ("grant update (price) on tickets to {role}", "{role} has UPDATE on tickets"),
    "delete": ("grant delete on people to {role}", "{role} has DELETE on people"),
    "truncate": ("grant truncate on venues to {role}", "{role} has TRUNCATE on venues"),
    "trigger": ("grant trigger on purchases to {role}", "{role} has TRIGGER on purchases"),
    "maintain": ("grant maintain on tickets to {role}", "{role} has MAINTAIN on tickets"),
    "objects in the schema": ("grant create on schema public to {role}", "{role} may create objects in schema public"),
    "schemas": ("grant create on database {database} to {role}", "{role} may create schemas in the database"),
    "writes everything": ("grant pg_write_all_data to {role}", "it is a member of pg_write_all_data"),
    "runs programs": ("grant pg_execute_server_program to {role}", "it is a member of pg_execute_server_program"),
    "owner": ("alter table tickets owner to {role}", "{role} has DELETE, INSERT, MAINTAIN, TRIGGER, TRUNCATE, UPDATE"),
    "becomes a writer": ("grant {writer} to {role} with inherit false", "{writer} has UPDATE on tickets"),
}


@pytest.fixture
def trial_role(ticketing_dsn: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The DSN of a role that may read, and the names that statements about it need."""
    ((database,),) = execute(ticketing_dsn, "select current_database()")
    names = {"role": f"trial_{database}", "writer": f"writer_{database}", "database": database}
    execute(ticketing_dsn, "create role {role} login; create role {writer}".format(**names))
    execute(ticketing_dsn, "grant select on all tables in schema public to {role}".format(**names))
    execute(ticketing_dsn, "grant update on tickets to {writer}".format(**names))
    yield make_dsn(ticketing_dsn, user=names["role"]), names
    for role in (names["role"], names["writer"]):
        execute(ticketing_dsn, f"reassign owned by {role} to postgres; drop owned by {role}; drop role {role}")


@pytest.mark.parametrize("power", POWERS)
def test_a_role_that_could_write_is_refused(
    trial_role: tuple[str, dict[str, str]], ticketing_dsn: str, power: str
) -> None:
    dsn, names = trial_role
    try_role(dsn)
    statement, reason = POWERS[power]
    execute(ticketing_dsn, statement.format(**names))
    with pytest.raises(RoleError, match=r"Make the right role with acl_assets/extraction/export_role\.sql") as raised:
        try_role(dsn)
    assert reason.format(**names) in str(raised.value)


def test_a_role_that_cannot_read_is_told_what(ticketing_dsn: str, export_dsn: str) -> None:
    execute(ticketing_dsn, "revoke select on people, tickets from acl_export")
    with pytest.raises(RoleError, match=r"may not read people, tickets\. Grant it with .*export_role\.sql"):
        try_role(export_dsn)


def test_a_role_that_may_not_use_the_schema_is_told_so(ticketing_dsn: str, export_dsn: str) -> None:
    execute(ticketing_dsn, "revoke usage on schema public from acl_export, public")
    with pytest.raises(RoleError, match=r"permission denied for schema public\. Grant .* with .*export_role\.sql"):
        try_role(export_dsn)


def test_missing_tables_and_schemas_are_named(extractable: Settings, ticketing_dsn: str) -> None:
    execute(ticketing_dsn, "alter table tickets rename to ticket")
    with pytest.raises(ExtractionError, match=r"Schema public at .* has no tickets"):
        extract(extractable)
    with pytest.raises(ExtractionError, match=r"There is no schema boxoffice at .*set ACL_TICKETING_SCHEMA"):
        extract(replace(extractable, ticketing_schema="boxoffice"))


def test_rows_that_a_policy_hides_are_not_left_out_silently(extractable: Settings, ticketing_dsn: str) -> None:
    execute(ticketing_dsn, "alter role acl_export reset row_security")
    execute(ticketing_dsn, "alter table tickets enable row level security")
    execute(ticketing_dsn, "create policy even on tickets for select using (id % 2 = 0)")
    with pytest.raises(ExtractionError, match=r"would be affected by row-level security policy for table .*tickets"):
        extract(extractable)


def test_a_column_of_another_type_is_named(extractable: Settings, ticketing_dsn: str) -> None:
    execute(ticketing_dsn, "alter table tickets alter column price type numeric")
    with pytest.raises(ExtractionError, match=r"price is numeric, not integer.*source_schema\.py"):
        extract(extractable)


def test_too_many_sessions_of_the_role_are_an_error_that_says_so(extractable: Settings, export_dsn: str) -> None:
    with (
        SourceConnection(export_dsn),
        SourceConnection(export_dsn),
        pytest.raises(SourceUnreachableError, match="too many connections for role"),
    ):
        extract(extractable)


# The transaction ----------------------------------------------------------------------------------------------


def test_the_transaction_is_guarded_whatever_the_role_was_set_to(ticketing_dsn: str, export_dsn: str) -> None:
    """A role made by hand may lack its settings, or have others."""
    execute(ticketing_dsn, "alter role acl_export reset all; alter role acl_export set statement_timeout = '1s'")
    try:
        with SourceConnection(export_dsn) as source:
            begin_reading(source, "public")
            require_guard_rails(source)
            with pytest.raises(ExtractionError, match="cannot execute CREATE TABLE in a read-only transaction"):
                source.execute("create temporary table scratch (id int)", "try to write")
    finally:
        execute(ticketing_dsn, EXPORT_ROLE_SQL)


def test_a_transaction_that_lost_its_guard_rails_is_refused(export_dsn: str) -> None:
    """As behind a connection pooler that gives every statement another connection."""
    with SourceConnection(export_dsn) as source:
        begin_reading(source, "public")
        source.execute("commit", "end the transaction")
        with pytest.raises(
            ExtractionError, match=r"transaction_isolation is read committed.*without a connection pooler"
        ):
            require_guard_rails(source)
