"""Compare a build with the published file that it replaces: ranks, verdicts and bands that changed."""

from __future__ import annotations

import duckdb

from acl_assets.settings import Settings
from acl_assets.util.sql import quoted_text
from acl_assets.warehouse.published_file import published_digest

# Ids identify venues and bands: a corrected name is no change. Ranks beyond the top bands and changes between
# "possible" and "reserve" there would make a list that nobody reads.
_FACTS = """
    select distinct
        'venue rank' as change, venue_id, null::integer as band_id, venue_name, null as band_name,
        venue_rank::varchar as value, true as is_listed
    from {file}.data_products.ticket_sales_by_venue
    union all
    select 'venue verdict', venue_id, null, venue_name, null, verdict, true
    from {file}.data_products.venue_verdicts
    union all
    select
        'band rank', venue_id, band_id, venue_name, band_name, rank_in_venue::varchar,
        is_top_venue and is_top_band
    from {file}.data_products.band_sales_by_venue
    union all
    select
        'band verdict', venue_id, band_id, venue_name, band_name, verdict,
        is_top_venue and (is_top_band or verdict not in ('possible', 'reserve'))
    from {file}.data_products.band_sales_by_venue
    union all
    select 'new band', null, band_id, null, band_name, 'new', true
    from {file}.star_schema.dim_bands
"""

_CHANGES = f"""
    with

    facts as (
        select *, true as is_new from ({_FACTS.format(file="build")})
        union all
        select *, false as is_new from ({_FACTS.format(file="published")})
    )

    select
        change,
        arg_max(venue_name, is_new) as venue_name,
        arg_max(band_name, is_new) as band_name,
        any_value(value) filter (not is_new) as before,
        any_value(value) filter (is_new) as after
    from facts
    group by change, venue_id, band_id
    having before is distinct from after and bool_or(is_listed) and (change <> 'new band' or after = 'new')
    order by
        list_position(['venue rank', 'venue verdict', 'band rank', 'band verdict', 'new band'], change),
        venue_name, try_cast(after as integer), band_name
"""


def write_changes(settings: Settings, state: str) -> str | None:
    """Write `publication.changes` into a build of a state, and return the newest batch of the publication before.

    Where that publication has the same state and nothing changed, its own changes are kept. The table is empty, and
    None returned, if no published file can be compared: there is none, it is damaged, or of another version.
    """
    published_state = published_digest(settings)
    with duckdb.connect() as connection:
        connection.execute(f"attach {quoted_text(str(settings.build_file))} as build")
        connection.execute(
            "create schema if not exists build.publication; create or replace table build.publication.changes "
            "(change varchar, venue_name varchar, band_name varchar, before varchar, after varchar)"
        )
        if published_state is None:
            return None
        try:
            connection.execute(f"attach {quoted_text(str(settings.published_file))} as published (read_only)")
            ((count,),) = connection.execute(f"insert into build.publication.changes {_CHANGES}").fetchall()
            since = "batch_id from published.publication.export_batches order by exported_at desc, batch_id desc"
            if count == 0 and published_state == state:
                connection.execute("insert into build.publication.changes from published.publication.changes")
                since = "changes_since from published.publication.summary"
            ((batch_id,),) = connection.execute(f"select {since} limit 1").fetchall()
        except duckdb.Error:
            return None
        return None if batch_id is None else str(batch_id)
