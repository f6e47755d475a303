-- Types and functions that the dbt project uses and PostgreSQL lacks.
create domain string as text;
create domain double as double precision;

create function bit_count(bits bigint) returns bigint
language sql immutable parallel safe
return bit_count(cast(bits as bit(64)));

create function round(number double precision, digits integer) returns double precision
language sql immutable parallel safe
return cast(round(cast(number as numeric), digits) as double precision);

create schema festival;

create table festival.export_batches (
    batch_id text,
    kind text,
    exported_at timestamptz,
    manifest_digest text,
    has_manifest boolean
);
