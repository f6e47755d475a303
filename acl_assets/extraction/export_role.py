"""Refuse a database role that cannot read the source tables, or that could write."""

from acl_assets.extraction.connection import EXPORT_ROLE_SQL, SourceConnection
from acl_assets.extraction.extracted_batch import ExtractionError
from acl_assets.source_schema import SOURCE_TABLES
from acl_assets.util.sql import qualified_name, quoted_name, quoted_text

OLDEST_SERVER_VERSION = 140_000
_WRITING_ROLES = (
    "pg_write_all_data",
    "pg_write_server_files",
    "pg_read_server_files",
    "pg_execute_server_program",
    "pg_maintain",
    "pg_signal_backend",
    "pg_create_subscription",
)


def require_export_role(source: SourceConnection, schema: str) -> None:
    """Refuse a server that is too old, missing tables, and a role that cannot read or could write.

    Raises:
        ExtractionError: with the tables, or the rights of the role and the file that corrects them.
    """
    query = "select current_setting('server_version_num')::int as number"
    version = source.rows(query, "read the version")[0]["number"]
    if version < OLDEST_SERVER_VERSION:
        raise ExtractionError(f"The server at {source.name} has version {version}; PostgreSQL 14 or newer is needed.")
    _require_tables(source, schema)
    powers = [row["reason"] for row in source.rows(_powers_query(schema, version), "look at the role's privileges")]
    # A superuser has every other right.
    if powers := [reason for reason in powers if reason.endswith(" is a superuser")] or powers:
        raise ExtractionError(
            f"The role at {source.name} is refused, because an extract must not be able to change anything: "
            f"{'; '.join(powers)}. Make the right role with {EXPORT_ROLE_SQL} and connect as that one."
        )


def _require_tables(source: SourceConnection, schema: str) -> None:
    names = ", ".join(
        f"({quoted_text(table)}, {quoted_text(qualified_name(schema, table))})" for table in SOURCE_TABLES
    )
    found = source.rows(
        f"""
        select
            name,
            exists (
                select from pg_class where oid = to_regclass(qualified) and relkind in ('r', 'p')
            ) as is_there,
            coalesce(has_table_privilege(to_regclass(qualified), 'SELECT'), false) as is_readable
        from (values {names}) as tables (name, qualified)
        where to_regnamespace({quoted_text(quoted_name(schema))}) is not null
        """,
        "look for the tables",
    )
    if not found:
        raise ExtractionError(f"There is no schema {schema} at {source.name}; set ACL_TICKETING_SCHEMA to the tables'.")
    if missing := [table["name"] for table in found if not table["is_there"]]:
        raise ExtractionError(
            f"Schema {schema} at {source.name} has no table {', '.join(missing)}, and a view is not enough; set "
            "ACL_TICKETING_SCHEMA to the tables' schema."
        )
    if unreadable := [table["name"] for table in found if not table["is_readable"]]:
        raise ExtractionError(
            f"The role at {source.name} may not read {', '.join(unreadable)}. Grant it with {EXPORT_ROLE_SQL}."
        )


def _powers_query(schema: str, version: int) -> str:
    """Return a query for the rights by which the role, or one it can become, could write: one row for each."""
    privileges = ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER"] + (["MAINTAIN"] if version >= 170_000 else [])
    tables = ", ".join(f"({quoted_text(qualified_name(schema, table))}::regclass)" for table in SOURCE_TABLES)
    return f"""
        with reachable as (
            select oid, rolname::text as role_name, rolsuper, rolcreatedb, rolcreaterole, rolreplication
            from pg_catalog.pg_roles
            where pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
        )
        select role_name || ' ' || power as reason
        from reachable
        cross join lateral (
            values
            (rolsuper, 'is a superuser'),
            (rolcreatedb, 'may create databases'),
            (rolcreaterole, 'may create roles'),
            (rolreplication, 'may replicate')
        ) as attributes (is_given, power)
        where is_given
        union all
        select 'it is a member of ' || role_name from reachable
        where role_name in ({", ".join(quoted_text(role) for role in _WRITING_ROLES)})
        union all
        select role_name || ' may create objects in schema ' || {quoted_text(schema)} from reachable
        where pg_catalog.has_schema_privilege(oid, {quoted_text(schema)}, 'CREATE')
        union all
        select role_name || ' may create schemas in the database' from reachable
        where pg_catalog.has_database_privilege(oid, pg_catalog.current_database(), 'CREATE')
        union all
        select
            role_name || ' has ' || string_agg(privilege, ', ' order by privilege) || ' on ' || source_table::text
        from reachable
        cross join (values {tables}) as tables (source_table)
        cross join unnest(array[{", ".join(quoted_text(privilege) for privilege in privileges)}]) as privilege
        where
            case
                when privilege in ('INSERT', 'UPDATE')
                    then pg_catalog.has_any_column_privilege(oid, source_table, privilege)
                else pg_catalog.has_table_privilege(oid, source_table, privilege)
            end
        group by role_name, source_table
        """
