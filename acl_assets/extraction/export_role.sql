-- The role for extracts from the ticketing database. It reads six tables, cannot write, and cannot block buyers for long.
--
-- Run the script as a superuser or the owner of the tables, in the ticketing database. You can run it repeatedly:
--     psql -d ticketing -f export_role.sql
-- For a schema other than public:  PGOPTIONS='-c acl.ticketing_schema=sales' psql -d ticketing -f export_role.sql
-- Then set a password for the role (psql: \password acl_export) and allow its connections in pg_hba.conf.
-- Logical replication does not copy roles; a physical standby has them at once. Requires PostgreSQL 14 or newer.

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'acl_export') then
        create role acl_export;
    end if;
end
$$;

-- No privilege to change data. Two connections: one reads, one watches the load of the server.
alter role acl_export with
    login nosuperuser nocreatedb nocreaterole noreplication inherit connection limit 2;

-- A second safeguard besides the missing privileges. The transaction of the extract is read-only in any case.
alter role acl_export set default_transaction_read_only = on;

-- Limit the wait for a table that somebody changes the structure of. A longer wait can make buyers queue behind it.
alter role acl_export set lock_timeout = '2s';

-- A statement reads a slice of a table, in milliseconds. One that is stuck must not keep vacuum waiting.
alter role acl_export set statement_timeout = '10min';

-- An extract that hangs between two statements must not keep vacuum from removing dead rows.
alter role acl_export set idle_in_transaction_session_timeout = '60s';

-- Use one processor of the server, and no just-in-time compilation, which only slows down plain scans.
alter role acl_export set max_parallel_workers_per_gather = 0;
alter role acl_export set jit = off;

-- Read the pages of a slice alone. Without this kind of scan, each slice would be a scan of the whole table.
alter role acl_export set enable_tidscan = on;

-- Fail if a row-level security policy hides rows. Otherwise every figure would silently lack them.
-- If a table has such policies, let the role read all its rows:  alter role acl_export bypassrls;
alter role acl_export set row_security = off;

do $$
declare
    ticketing_schema constant text :=
        coalesce(nullif(pg_catalog.current_setting('acl.ticketing_schema', true), ''), 'public');
    source_table text;
begin
    execute pg_catalog.format('grant connect on database %I to acl_export', pg_catalog.current_database());
    execute pg_catalog.format('revoke all on schema %I from acl_export', ticketing_schema);
    execute pg_catalog.format('grant usage on schema %I to acl_export', ticketing_schema);
    execute pg_catalog.format('revoke all on all tables in schema %I from acl_export', ticketing_schema);
    foreach source_table in array array['bands', 'venues', 'performances', 'people', 'purchases', 'tickets'] loop
        execute pg_catalog.format('grant select on table %I.%I to acl_export', ticketing_schema, source_table);
    end loop;
end
$$;

-- Up to PostgreSQL 14 every role, including this one, can create objects in the schema public. The extract refuses such a
-- role. If nothing of yours needs this privilege, revoke it:
--     revoke create on schema public from public;
