-- The role that extracts from the ticketing database: it reads six tables, cannot write, and cannot be in the way.
--
-- Run it as a superuser or the owner of the tables, in the ticketing database, as often as you like:
--     psql -d ticketing -f export_role.sql
-- For another schema than public:  PGOPTIONS='-c acl.ticketing_schema=sales' psql -d ticketing -f export_role.sql
-- Then give the role a password (psql: \password acl_export) and let it in by pg_hba.conf.
-- Roles are not replicated by logical replication, but a physical standby has them at once. PostgreSQL 13 or newer.

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'acl_export') then
        create role acl_export;
    end if;
end
$$;

-- Nothing that changes data or goes around its rules. Two connections: one reads, one looks at how the server does.
alter role acl_export with
    login nosuperuser nocreatedb nocreaterole noreplication inherit connection limit 2;

-- A second fence behind the missing privileges. The extract's own transaction is read-only in any case.
alter role acl_export set default_transaction_read_only = on;

-- Whoever changes the structure of a table queues all buyers behind a reader that waits longer than this.
alter role acl_export set lock_timeout = '2s';

-- A statement that reads slowly on purpose is counted as running all the while it waits for its reader: hours, then.
alter role acl_export set statement_timeout = '6h';

-- An extract that hangs between two statements must not keep vacuum from removing dead rows.
alter role acl_export set idle_in_transaction_session_timeout = '60s';

-- One processor of the server, no more; and no compilation, which only costs on plain scans.
alter role acl_export set max_parallel_workers_per_gather = 0;
alter role acl_export set jit = off;

-- A scan begins at the table's first page, also while somebody else scans it: rows come in the order they were written.
alter role acl_export set synchronize_seqscans = off;

-- A row that a policy hides would be missing from every figure: fail instead.
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

-- Up to PostgreSQL 14 everybody may create objects in the schema public, this role too, and the extract refuses such a
-- role. Once you know that nothing of yours relies on it:
--     revoke create on schema public from public;
