-- The database of the Dagster instance and the role that owns it, which may do nothing outside of it.
-- For a superuser: psql --file=deploy/postgres/instance_database.sql, then \password dagster in the same psql.

create role dagster login nosuperuser nocreatedb nocreaterole noreplication nobypassrls;

create database dagster owner dagster encoding 'UTF8' template template0;

revoke all on database dagster from public;
