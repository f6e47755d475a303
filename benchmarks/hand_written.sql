-- The work of a refresh, written by hand for DuckDB alone and as fast as possible: it need not run on another engine, be
-- tested model by model, or show failing rows. A rule that follows from rules already checked is not checked again.
-- hand_written.py sets the variables batch (folder of the export) and source_tables (folder for the typed tables), and
-- reads the table failures afterwards.

-- Settings -----------------------------------------------------------------------------------------------------------
set preserve_insertion_order = false;
create schema festival;
create schema star_schema;
create schema data_products;
create temp table manifest as
select cast(exported_at as timestamptz) as exported_at, tables
from read_json(getvariable('batch') || '/manifest.json');

-- Typed tables -------------------------------------------------------------------------------------------------------
copy (select cast(id as int) as id, cast(name as varchar) as name, cast(fee as int) as fee
      from read_parquet(getvariable('batch') || '/bands*.parquet'))
to (getvariable('source_tables') || '/bands.parquet') (format parquet, compression zstd);
copy (select cast(id as int) as id, cast(name as varchar) as name, cast(capacity as int) as capacity
      from read_parquet(getvariable('batch') || '/venues*.parquet'))
to (getvariable('source_tables') || '/venues.parquet') (format parquet, compression zstd);
copy (select cast(id as int) as id, cast(performance_start as timestamptz) as performance_start,
          cast(band_id as int) as band_id, cast(venue_id as int) as venue_id
      from read_parquet(getvariable('batch') || '/performances*.parquet'))
to (getvariable('source_tables') || '/performances.parquet') (format parquet, compression zstd);
copy (select cast(id as int) as id, cast(name as varchar) as name
      from read_parquet(getvariable('batch') || '/people*.parquet'))
to (getvariable('source_tables') || '/people.parquet') (format parquet, compression zstd);
copy (select cast(id as int) as id, cast(purchase_date as timestamptz) as purchase_date,
          cast(person_id as int) as person_id
      from read_parquet(getvariable('batch') || '/purchases*.parquet'))
to (getvariable('source_tables') || '/purchases.parquet') (format parquet, compression zstd);
copy (select cast(id as int) as id, cast(price as int) as price, cast(performance_id as int) as performance_id,
          cast(purchase_id as int) as purchase_id, cast(ticketnum as varchar) as ticketnum
      from read_parquet(getvariable('batch') || '/tickets*.parquet'))
to (getvariable('source_tables') || '/tickets.parquet') (format parquet, compression zstd);

-- Views --------------------------------------------------------------------------------------------------------------
create view festival.bands as from read_parquet(getvariable('source_tables') || '/bands*.parquet');
create view festival.venues as from read_parquet(getvariable('source_tables') || '/venues*.parquet');
create view festival.performances as from read_parquet(getvariable('source_tables') || '/performances*.parquet');
create view festival.people as from read_parquet(getvariable('source_tables') || '/people*.parquet');
create view festival.purchases as from read_parquet(getvariable('source_tables') || '/purchases*.parquet');
create view festival.tickets as from read_parquet(getvariable('source_tables') || '/tickets*.parquet');

-- Star schema --------------------------------------------------------------------------------------------------------
create table star_schema.dim_bands as
select id as band_id, name as band_name, fee from festival.bands;

create table star_schema.dim_venues as
select id as venue_id, name as venue_name, capacity from festival.venues;

create table star_schema.dim_people as
select id as person_id from festival.people;

create table star_schema.dim_performances as
select
    id as performance_id, band_id, venue_id,
    performance_start at time zone 'UTC' as performance_start,
    cast(performance_start at time zone 'America/Chicago' as date) as performance_date,
    cast(year(performance_start at time zone 'America/Chicago') as int) as festival_year,
    performance_start < (select exported_at from manifest) as is_completed
from festival.performances;

create table star_schema.fct_ticket_sales as
select
    tickets.id as ticket_id, tickets.ticketnum, tickets.purchase_id, tickets.performance_id, performances.band_id,
    performances.venue_id, purchases.person_id, purchases.purchased_at, purchases.sale_date,
    tickets.price as ticket_price
from festival.tickets as tickets
inner join (
    select
        id, person_id,
        make_timestamp(epoch_us(purchase_date)) as purchased_at,
        cast(purchase_date at time zone 'America/Chicago' as date) as sale_date
    from festival.purchases
) as purchases on tickets.purchase_id = purchases.id
inner join star_schema.dim_performances as performances using (performance_id);

-- One pass over the fact serves the figures per performance and the figures per month.
create temp table monthly_sales as
select
    performance_id,
    cast(date_trunc('month', sale_date) as date) as sale_month,
    min(sale_date) as first_day,
    max(sale_date) as last_day,
    count(*) as tickets_sold,
    sum(ticket_price) as revenue
from star_schema.fct_ticket_sales
group by all;

create table star_schema.fct_performances as
select
    performances.performance_id, performances.band_id, performances.venue_id, performances.festival_year,
    performances.is_completed,
    cast(coalesce(sales.tickets_sold, 0) as bigint) as tickets_sold,
    cast(coalesce(sales.revenue, 0) as bigint) as revenue,
    venues.capacity,
    cast(coalesce(sales.tickets_sold, 0) as double) / venues.capacity as fill_rate
from star_schema.dim_performances as performances
inner join star_schema.dim_venues as venues using (venue_id)
left join (
    select performance_id, sum(tickets_sold) as tickets_sold, sum(revenue) as revenue
    from monthly_sales
    group by performance_id
) as sales using (performance_id);

create table star_schema.dim_dates as
with eventful_days as (
    select first_day as day from monthly_sales
    union all select last_day from monthly_sales
    union all select performance_date from star_schema.dim_performances
)
select
    date_day,
    cast(year(date_day) as int) as year,
    cast(quarter(date_day) as int) as quarter,
    cast(month(date_day) as int) as month,
    cast(date_trunc('month', date_day) as date) as month_start,
    cast(day(date_day) as int) as day_of_month,
    cast(isodow(date_day) as int) as day_of_week,
    festivals.festival_year,
    date_day in (select performance_date from star_schema.dim_performances) as is_festival_day
from (
    select cast(unnest(generate_series(min(day), max(day), interval 1 day)) as date) as date_day from eventful_days
)
left join (select distinct festival_year from star_schema.dim_performances) as festivals
    on year(date_day) = festivals.festival_year;

-- Data products ------------------------------------------------------------------------------------------------------
create table data_products.ticket_sales_over_time as
select
    festival_year, sale_month,
    cast(sum(tickets_sold) as bigint) as tickets_sold,
    cast(sum(revenue) as bigint) as revenue,
    festivals.is_completed,
    if(festivals.is_completed, 'completed', 'on sale') as sales_status
from monthly_sales
inner join star_schema.dim_performances using (performance_id)
inner join (
    select festival_year, bool_and(is_completed) as is_completed
    from star_schema.dim_performances
    group by festival_year
) as festivals using (festival_year)
group by all;

create table data_products.ticket_sales_by_venue as
with totals as (
    select
        venue_id,
        count(*) filter (is_completed) as total_performances,
        coalesce(sum(tickets_sold) filter (is_completed), 0) as total_tickets_sold,
        coalesce(sum(revenue) filter (is_completed), 0) as total_revenue
    from star_schema.fct_performances
    group by venue_id
),
ranked as (
    select
        *,
        total_tickets_sold / nullif(sum(total_tickets_sold) over (), 0) as share_of_tickets,
        row_number() over (order by total_tickets_sold desc, venue_id) as venue_rank
    from totals
)
select
    venue_id, venue_name, venues.capacity, festival_year,
    bool_and(is_completed) as is_completed,
    count(*) as performances,
    cast(sum(tickets_sold) as bigint) as tickets_sold,
    cast(sum(revenue) as bigint) as revenue,
    cast(total_performances as bigint) as total_performances,
    cast(total_tickets_sold as bigint) as total_tickets_sold,
    cast(total_revenue as bigint) as total_revenue,
    coalesce(cast(share_of_tickets as double), 0) as share_of_tickets,
    cast(venue_rank as int) as venue_rank,
    venue_rank <= 3 as is_top_venue,
    if(venue_rank <= 3, 'top venue ' || venue_rank, 'venues ranked lower') as venue_standing
from star_schema.fct_performances
inner join ranked using (venue_id)
inner join star_schema.dim_venues as venues using (venue_id)
group by all;

create table data_products.band_sales_by_venue as
with totals as (
    select
        venue_id, band_id,
        count(*) as performances,
        count(distinct festival_year) as festivals,
        min(festival_year) as first_festival_year,
        max(festival_year) as last_festival_year,
        cast(sum(tickets_sold) as bigint) as tickets_sold,
        cast(sum(revenue) as bigint) as revenue,
        cast(sum(tickets_sold) as double) / count(*) as avg_tickets_per_performance
    from star_schema.fct_performances
    where is_completed
    group by venue_id, band_id
),
ranked as (
    select
        *,
        row_number() over best_first as rank_in_venue,
        tickets_sold * lead(performances) over best_first as scaled_average,
        tickets_sold * lead(performances) over best_first
        - performances * lead(tickets_sold) over best_first as scaled_fall
    from totals
    window best_first as (
        partition by venue_id order by avg_tickets_per_performance desc, tickets_sold desc, band_id
    )
)
select
    venue_id, venue_name, venue_rank, band_id, band_name, performances, festivals, first_festival_year,
    last_festival_year, tickets_sold, revenue, avg_tickets_per_performance,
    cast(rank_in_venue as int) as rank_in_venue,
    coalesce(cast(scaled_fall as double) / nullif(scaled_average, 0), scaled_fall) as gap_to_next,
    cast(1 + count(*) filter (10 * scaled_fall > scaled_average) over (
        partition by venue_id order by rank_in_venue rows between unbounded preceding and 1 preceding
    ) as int) as tier,
    is_top_venue,
    rank_in_venue <= 8 as is_top_band
from ranked
inner join (
    select distinct venue_id, venue_name, venue_rank, is_top_venue from data_products.ticket_sales_by_venue
) using (venue_id)
inner join star_schema.dim_bands using (band_id);

create table data_products.all_star_candidates as
select
    venue_rank, venue_id, venue_name, rank_in_venue, band_id, band_name, performances, festivals,
    avg_tickets_per_performance, gap_to_next, tier, case
        when tier = 1 and count(*) filter (tier = 1) over (partition by venue_id) = 1 then 'must invite'
        when tier = 1 then 'near-equals'
        when tier = 2 then 'strong alternative'
        else 'reserve'
    end as verdict, case
        when tier > 1 then 'tier ' || tier
        when count(*) filter (tier = 1) over (partition by venue_id) = 1 then 'must invite'
        else 'near-equals'
    end as tier_name,
    format('{}. {} ({} performance{})', rank_in_venue, band_name, performances, if(performances = 1, '', 's'))
        as band_label
from data_products.band_sales_by_venue
where is_top_venue
qualify is_top_band;

create table data_products.performance_attendance as
select
    performance_id, performance_start, performance_date, sales.festival_year, sales.is_completed, band_id, band_name,
    venue_id, venue_name, tickets_sold, revenue, sales.capacity, fill_rate
from star_schema.fct_performances as sales
inner join star_schema.dim_performances using (performance_id, band_id, venue_id)
inner join star_schema.dim_bands using (band_id)
inner join star_schema.dim_venues using (venue_id);

create view data_products.ticket_sales as
select
    ticket_id, ticketnum, ticket_price, purchase_id, person_id, purchased_at, sale_date,
    cast(date_trunc('month', sale_date) as date) as sale_month,
    performance_id, performance_start, performance_date, festival_year, is_completed, band_id, band_name, venue_id,
    venue_name, capacity
from star_schema.fct_ticket_sales
inner join star_schema.dim_performances using (performance_id, band_id, venue_id)
inner join star_schema.dim_bands using (band_id)
inner join star_schema.dim_venues using (venue_id);

-- Checks -------------------------------------------------------------------------------------------------------------
create temp table failures (check_name varchar, failing bigint);
create temp macro other_than_exported(row_count, exported) as cast(
    row_count <> exported.rows_at_source
    or row_count <> list_sum(list_transform(exported.files, lambda file: file.rows))
as bigint);

-- Completeness, plausible values and row counts: one pass per source table.
insert into failures
unpivot (
    select
        count(*) filter (id is null or price is null or performance_id is null or purchase_id is null
                         or ticketnum is null) as tickets_are_complete,
        count(*) filter (price not between 0 and 1000) as ticket_price_is_believable,
        count(*) filter (not regexp_full_match(ticketnum, 'TT[0-9]{14}')) as ticketnum_is_well_formed,
        other_than_exported(count(*), (select tables.tickets from manifest)) as tickets_as_exported
    from festival.tickets
) on columns(*) into name check_name value failing;
insert into failures
unpivot (
    select
        count(*) filter (id is null or purchase_date is null or person_id is null) as purchases_are_complete,
        count(*) filter (purchase_date < timestamptz '2001-01-01 00:00:00+00'
                         or purchase_date > (select exported_at + interval 1 day from manifest))
        as purchase_date_is_within_festival_life,
        other_than_exported(count(*), (select tables.purchases from manifest)) as purchases_as_exported
    from festival.purchases
) on columns(*) into name check_name value failing;
insert into failures
unpivot (
    select
        count(*) filter (id is null or name is null) as people_are_complete,
        count(*) filter (length(name) > 200) as person_name_is_readable,
        count(*) - count(distinct id) as people_id_is_unique,
        other_than_exported(count(*), (select tables.people from manifest)) as people_as_exported
    from festival.people
) on columns(*) into name check_name value failing;
insert into failures
unpivot (
    select
        count(*) filter (id is null or performance_start is null or band_id is null or venue_id is null)
        as performances_are_complete,
        count(*) filter (performance_start < timestamptz '2002-01-01 00:00:00+00'
                         or performance_start > (select exported_at + interval 730 day from manifest))
        as performance_start_is_within_festival_life,
        count(*) - count(distinct id) as performances_id_is_unique,
        other_than_exported(count(*), (select tables.performances from manifest)) as performances_as_exported
    from festival.performances
) on columns(*) into name check_name value failing;
insert into failures
unpivot (
    select
        count(*) filter (id is null or name is null or fee is null) as bands_are_complete,
        count(*) filter (length(name) > 200) as band_name_is_readable,
        count(*) filter (fee < 0) as band_fee_is_not_negative,
        count(*) - count(distinct id) as bands_id_is_unique,
        other_than_exported(count(*), (select tables.bands from manifest)) as bands_as_exported
    from festival.bands
) on columns(*) into name check_name value failing;
insert into failures
unpivot (
    select
        count(*) filter (id is null or name is null or capacity is null) as venues_are_complete,
        count(*) filter (length(name) > 200) as venue_name_is_readable,
        count(*) filter (capacity < 1) as venue_capacity_is_positive,
        count(*) - count(distinct id) as venues_id_is_unique,
        other_than_exported(count(*), (select tables.venues from manifest)) as venues_as_exported
    from festival.venues
) on columns(*) into name check_name value failing;

-- Keys of the large tables: 64 neighbouring numbers share one group, and each has one bit of it.
insert into failures
select 'tickets_id_is_unique', sum(row_count) - sum(bit_count(bits))
from (
    select count(*) as row_count, bit_or(cast(1 as ubigint) << (id & 63)) as bits from festival.tickets group by id >> 6
);
insert into failures
select 'purchases_id_is_unique', sum(row_count) - sum(bit_count(bits))
from (
    select count(*) as row_count, bit_or(cast(1 as ubigint) << (id & 63)) as bits
    from festival.purchases group by id >> 6
);
insert into failures
select 'ticketnum_is_unique', count(*) - count(distinct try_cast(ticketnum[3:] as bigint)) from festival.tickets;

-- Foreign keys. Those of tickets hold if the fact has every ticket, because it joins unique keys only.
insert into failures
select 'purchases_person_is_known', count(*)
from festival.purchases anti join festival.people on purchases.person_id = people.id;
insert into failures
select 'performances_band_is_known', count(*)
from festival.performances anti join festival.bands on performances.band_id = bands.id;
insert into failures
select 'performances_venue_is_known', count(*)
from festival.performances anti join festival.venues on performances.venue_id = venues.id;

-- Tickets and dollars at every hop: source = fact = each data product.
create temp table totals as
select 'source' as hop, count(*) as tickets, sum(price) as dollars from festival.tickets
union all select 'fct_ticket_sales', count(*), sum(ticket_price) from star_schema.fct_ticket_sales
union all select 'fct_performances', sum(tickets_sold), sum(revenue) from star_schema.fct_performances
union all select 'ticket_sales_over_time', sum(tickets_sold), sum(revenue) from data_products.ticket_sales_over_time
union all select 'ticket_sales_by_venue', sum(tickets_sold), sum(revenue) from data_products.ticket_sales_by_venue
union all select 'performance_attendance', sum(tickets_sold), sum(revenue) from data_products.performance_attendance
union all select 'ticket_sales', count(*), sum(ticket_price) from data_products.ticket_sales;
insert into failures
select hop || '_adds_up', count(*)
from totals
where (tickets, dollars) is distinct from (select (tickets, dollars) from totals where hop = 'source')
group by hop;
create temp table completed_totals as
select 'fct_performances' as hop, sum(tickets_sold) as tickets, sum(revenue) as dollars
from star_schema.fct_performances where is_completed
union all select 'band_sales_by_venue', sum(tickets_sold), sum(revenue) from data_products.band_sales_by_venue
union all
select 'venue_totals', sum(total_tickets_sold), sum(total_revenue)
from (select distinct venue_id, total_tickets_sold, total_revenue from data_products.ticket_sales_by_venue);
insert into failures
select hop || '_adds_up', count(*)
from completed_totals
where (tickets, dollars) is distinct from (
    select (tickets, dollars) from completed_totals where hop = 'fct_performances'
)
group by hop;
insert into failures
select 'fct_performances_has_every_performance',
    (select count(*) from festival.performances) - (select count(*) from star_schema.fct_performances);

-- End ----------------------------------------------------------------------------------------------------------------
drop schema festival cascade;
