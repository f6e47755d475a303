-- The work of a refresh, written by hand for DuckDB alone and for speed. It has no support for other engines, no tests of
-- single models and no stored failing rows. It skips every check that follows from another one.
-- hand_written.py sets the variables batch (folder of the export) and source_tables (folder for the typed tables), reads
-- the table failures at the end, and writes the data products as files.

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

-- One pass over the fact computes the figures per performance and per month.
create temp table monthly_sales as
select
    performance_id,
    cast(date_trunc('month', sale_date) as date) as sale_month,
    min(sale_date) as first_day,
    max(sale_date) as last_day,
    count(*) as tickets_sold,
    sum(ticket_price) as revenue,
    min(ticket_price) as lowest_ticket_price,
    max(ticket_price) as highest_ticket_price
from star_schema.fct_ticket_sales
group by all;

create table star_schema.fct_performances as
select
    performances.performance_id, performances.band_id, performances.venue_id, performances.festival_year,
    performances.is_completed,
    cast(coalesce(sales.tickets_sold, 0) as bigint) as tickets_sold,
    cast(coalesce(sales.revenue, 0) as bigint) as revenue,
    sales.lowest_ticket_price, sales.highest_ticket_price,
    venues.capacity,
    cast(coalesce(sales.tickets_sold, 0) as double) / venues.capacity as fill_rate
from star_schema.dim_performances as performances
inner join star_schema.dim_venues as venues using (venue_id)
left join (
    select
        performance_id, sum(tickets_sold) as tickets_sold, sum(revenue) as revenue,
        min(lowest_ticket_price) as lowest_ticket_price, max(highest_ticket_price) as highest_ticket_price
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
    festival_year, make_date(festival_year, 1, 1) as festival_date, sale_month,
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

create table data_products.venue_sales as
with totals as (
    select
        venue_id,
        count(*) filter (is_completed) as performances,
        coalesce(sum(tickets_sold) filter (is_completed), 0) as tickets_sold,
        coalesce(sum(revenue) filter (is_completed), 0) as revenue,
        min(lowest_ticket_price) filter (is_completed) as lowest_ticket_price,
        max(highest_ticket_price) filter (is_completed) as highest_ticket_price
    from star_schema.fct_performances
    group by venue_id
),
ranked as (
    select *, cast(row_number() over (order by tickets_sold desc, venue_id) as int) as venue_rank from totals
)
select
    venue_id, venue_name, capacity, venue_rank,
    venue_rank <= 3 as is_top_venue,
    if(venue_rank <= 3, 'top venue ' || venue_rank, 'venues ranked lower') as venue_standing,
    cast(performances as bigint) as performances,
    cast(tickets_sold as bigint) as tickets_sold,
    cast(revenue as bigint) as revenue,
    coalesce(cast(tickets_sold / nullif(sum(tickets_sold) over (), 0) as double), 0) as share_of_tickets,
    coalesce(cast(revenue / nullif(sum(revenue) over (), 0) as double), 0) as share_of_revenue,
    lowest_ticket_price,
    cast(revenue / nullif(tickets_sold, 0) as double) as avg_ticket_price,
    highest_ticket_price
from ranked
inner join star_schema.dim_venues using (venue_id);

create table data_products.ticket_sales_by_venue as
select
    venue_id, venue_name, venues.capacity, festival_year, make_date(festival_year, 1, 1) as festival_date,
    bool_and(is_completed) as is_completed,
    count(*) as performances,
    cast(sum(shows.tickets_sold) as bigint) as tickets_sold,
    cast(sum(shows.revenue) as bigint) as revenue,
    min(shows.lowest_ticket_price) as lowest_ticket_price,
    cast(sum(shows.revenue) / nullif(sum(shows.tickets_sold), 0) as double) as avg_ticket_price,
    max(shows.highest_ticket_price) as highest_ticket_price,
    venues.performances as total_performances,
    venues.tickets_sold as total_tickets_sold,
    venues.revenue as total_revenue,
    share_of_tickets, share_of_revenue,
    venues.avg_ticket_price as total_avg_ticket_price,
    venue_rank, is_top_venue, venue_standing
from star_schema.fct_performances as shows
inner join data_products.venue_sales as venues using (venue_id)
group by all;

-- Evidence: the formulas of docs/evidence.md.
create temp macro upper_tail(x) as 0.3989422804014327 * exp(-0.5 * x * x) * (1 / (1 + 0.2316419 * x)) * (
    0.319381530 + (1 / (1 + 0.2316419 * x)) * (
        -0.356563782 + (1 / (1 + 0.2316419 * x)) * (
            1.781477937 + (1 / (1 + 0.2316419 * x)) * (-1.821255978 + 1.330274429 / (1 + 0.2316419 * x))
        )
    )
);
create temp macro normal_cdf(x) as if(x >= 0, 1 - upper_tail(x), upper_tail(-x));
create temp macro log_level_cdf(x, m0, d0, m1, d1, w) as ln(greatest(
    (1 - w) * normal_cdf((x - m0) / d0) + w * normal_cdf((x - m1) / d1), 1e-300
));

create temp table shows as
select performance_id, venue_id, band_id, festival_year, cast(tickets_sold as double) as sold, capacity
from star_schema.fct_performances
where is_completed
qualify sum(tickets_sold) over (partition by festival_year) > 0;

create temp table festival_levels as
with recursive fit as (
    select 0 as round, festival_year, cast(1 as double) as level from shows group by festival_year
    union all
    select any_value(fit_round) + 1, festival_year, sum(sold) / sum(venue_level)
    from (
        select
            shows.festival_year, sold, fit.round as fit_round,
            greatest(
                sum(sold) over (partition by venue_id) / sum(fit.level) over (partition by venue_id), 1e-9
            ) as venue_level
        from shows
        inner join fit using (festival_year)
    )
    where fit_round < 16
    group by festival_year
),
newest_first as (
    select festival_year, level, row_number() over (order by festival_year desc) as place from fit where round = 16
)
select festival_year, level / (avg(level) filter (place <= 3) over ()) as g from newest_first;

create temp table venue_levels as
select venue_id, greatest(sum(sold) / sum(g), 1e-9) as m
from shows
inner join festival_levels using (festival_year)
group by venue_id;

create temp table ratios as
with compared as (
    select performance_id, venue_id, band_id, sold >= capacity as is_sold_out, sold / (m * g) as r
    from shows
    inner join festival_levels using (festival_year)
    inner join venue_levels using (venue_id)
),
deciles as (
    select list_transform([0.1, 0.5, 0.9], lambda q: greatest(sorted[1 + cast(floor(q * (len(sorted) - 1)) as int)], 0.05)) as q
    from (select list_sort(list(r)) as sorted from compared)
),
scale as (
    select
        (q[3] + q[1] - 2 * q[2]) / greatest(q[3] - q[1], 1e-9)
        > 1e-6 - (ln(q[3]) + ln(q[1]) - 2 * ln(q[2])) / greatest(ln(q[3]) - ln(q[1]), 1e-9) as is_log
    from deciles
)
select *, if(is_log, ln(greatest(r, 0.05)), r) as z from compared cross join scale;

create temp table bands as
select
    venue_id, band_id, count(*) as n, avg(z) as zbar, any_value(is_log) as is_log,
    count(*) filter (is_sold_out) as sold_out_performances,
    greatest(sum(z * z) - sum(z) * sum(z) / count(*), 0) as squares
from ratios
group by venue_id, band_id;

create temp table priors as
with anywhere as (
    select sum(squares) / nullif(sum(n - 1), 0) as variance, sum(n - 1) as freedom
    from (
        select count(*) as n, greatest(sum(c * c) - sum(c) * sum(c) / count(*), 0) as squares
        from (select band_id, z - avg(z) over (partition by venue_id) as c from ratios)
        group by band_id
    )
),
variances as (
    select
        here.freedom, anywhere.variance as variance_anywhere,
        greatest(
            case
                when here.freedom >= 20 then here.squares / here.freedom
                when anywhere.freedom >= 1 then anywhere.variance
                else (select coalesce(var_samp(z), 0.01) from ratios)
            end,
            0.0004
        ) as sigma2
    from (select sum(squares) as squares, sum(n - 1) as freedom from bands) as here
    cross join anywhere
),
venues as (
    select
        venue_id, count(*) as bands, avg(zbar) as m, sum(n * zbar) / sum(n) as mean_of_shows,
        greatest(
            coalesce(var_samp(zbar), 0) - any_value(sigma2) * avg(cast(1 as double) / n), 0.0004
        ) as tau2,
        any_value(sigma2) as sigma2, any_value(freedom) as freedom, any_value(variance_anywhere) as variance_anywhere
    from bands
    cross join variances
    group by venue_id
)
select
    venue_id, bands, m, mean_of_shows, sigma2, tau2,
    least(if(freedom >= 20, greatest(variance_anywhere - sigma2, 0), 0), 0.9 * tau2) as kappa2
from venues;

create temp table levels as
with elsewhere as (
    select
        here.venue_id, here.band_id,
        sum(1 / (kappa2 + sigma2 / there.n)) as p,
        sum((there.zbar - other.mean_of_shows) / (kappa2 + sigma2 / there.n)) as s
    from bands as here
    inner join bands as there on here.band_id = there.band_id and here.venue_id <> there.venue_id
    inner join priors on here.venue_id = priors.venue_id
    inner join (select venue_id, mean_of_shows from priors) as other on there.venue_id = other.venue_id
    group by here.venue_id, here.band_id
),
shifted as (
    select
        venue_id, band_id, n, zbar, is_log, sold_out_performances, sigma2 / n as error, tau2 / bands as of_mean,
        m + coalesce(s, 0) / (1 / (tau2 - kappa2) + coalesce(p, 0)) as m,
        1 / (1 / (tau2 - kappa2) + coalesce(p, 0)) + kappa2 as t
    from bands
    inner join priors using (venue_id)
    left join elsewhere using (venue_id, band_id)
),
parts as (
    select
        *, t / (t + error) as b0, 9 * t / (9 * t + error) as b1,
        1 / (1 + 0.95 / 0.05 * sqrt((9 * t + error) / (t + error)) * exp(greatest(
            0.5 * (zbar - m) * (zbar - m) / (9 * t + error) - 0.5 * (zbar - m) * (zbar - m) / (t + error), -700
        ))) as w
    from shifted
),
mixture as (
    select
        *, m + b0 * (zbar - m) as m0, sqrt(t * (1 - b0) + (1 - b0) * (1 - b0) * of_mean) as d0,
        m + b1 * (zbar - m) as m1, sqrt(9 * t * (1 - b1) + (1 - b1) * (1 - b1) * of_mean) as d1
    from parts
)
select
    *, (1 - w) * m0 + w * m1 as mu,
    sqrt((1 - w) * d0 * d0 + w * d1 * d1 + w * (1 - w) * (m1 - m0) * (m1 - m0)) as sd
from mixture;

create temp table chances as
with ranges as (
    select
        venue_id, any_value(is_log) as is_log,
        max(mu) - greatest(0.6, 4 * max(d0)) - max(if(is_log, -ln(0.9), 0.1 * mu)) as low,
        greatest(max(m0 + 5 * d0), max(if(w > 0.001, m1 + 5 * d1, m0))) as high
    from levels
    group by venue_id
),
grid as (
    select venue_id, step, is_log, (high - low) / 399 as dx, low + (high - low) * step / 399 as x
    from ranges
    cross join range(400) as steps (step)
),
distributions as (
    select
        venue_id, band_id, step,
        0.3989422804014327 * dx * (
            (1 - w) * exp(-0.5 * ((x - m0) / d0) * ((x - m0) / d0)) / d0
            + w * exp(-0.5 * ((x - m1) / d1) * ((x - m1) / d1)) / d1
        ) as mass,
        log_level_cdf(x, m0, d0, m1, d1, w) as best,
        log_level_cdf(if(grid.is_log, x - ln(0.9), x / 0.9), m0, d0, m1, d1, w) as top_group,
        log_level_cdf(if(grid.is_log, x + ln(0.9), x * 0.9), m0, d0, m1, d1, w) as stands_out
    from levels
    inner join grid using (venue_id)
),
compared as (
    select
        venue_id, band_id, mass, sum(best) over others - best as best, sum(top_group) over others - top_group as top_group,
        sum(stands_out) over others - stands_out as stands_out
    from distributions
    window others as (partition by venue_id, step)
)
select
    venue_id, band_id, least(sum(mass * exp(best)), 1) as p_best, least(sum(mass * exp(top_group)), 1) as p_top_group,
    least(sum(mass * exp(stands_out)), 1) as p_stands_out
from compared
group by venue_id, band_id;

create temp table verdicts as
with judged as (
    select
        venue_id, band_id, n, round(p_best, 3) as p_best, round(p_top_group, 3) as p_top_group,
        round(p_best, 3) >= 0.8 and round(p_stands_out, 3) >= 0.5 as is_leader, round(p_top_group, 3) >= 0.5 as is_near_best
    from chances
    inner join levels using (venue_id, band_id)
),
venues as (
    select
        *, coalesce(sum(n) filter (is_leader) over at_venue, 0) as performances_of_leader,
        count(*) filter (is_near_best) over at_venue as near_best,
        round(coalesce(sum(p_best) filter (is_near_best) over at_venue, 0), 3) as near_best_p_best
    from judged
    window at_venue as (partition by venue_id)
),
venue_verdicts as (
    select *, case
        when performances_of_leader > 1 then 'must invite'
        when performances_of_leader = 1 then 'leads on one show'
        when near_best between 2 and 8 and near_best_p_best >= 0.8 then 'near-equals'
        else 'no clear lead'
    end as venue_verdict
    from venues
)
select venue_id, band_id, venue_verdict, case
    when is_leader then venue_verdict
    when venue_verdict = 'near-equals' and is_near_best then 'near-equals'
    when p_top_group >= 0.8 then 'safe to invite'
    when p_top_group >= 0.05 then 'possible'
    else 'reserve'
end as verdict
from venue_verdicts;

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
)
select
    venue_id, venue_name, venue_rank, band_id, band_name, performances, festivals, first_festival_year,
    last_festival_year, tickets_sold, revenue, avg_tickets_per_performance,
    coalesce(sold_out_performances, 0) as sold_out_performances,
    round(venue_levels.m * if(is_log, exp(mu), greatest(mu, 0)), 3) as expected_tickets,
    round(venue_levels.m * if(is_log, exp(mu - 1.645 * sd), greatest(mu - 1.645 * sd, 0)), 3) as expected_low,
    round(venue_levels.m * if(is_log, exp(mu + 1.645 * sd), greatest(mu + 1.645 * sd, 0)), 3) as expected_high,
    round(p_best, 6) as p_best, round(p_top_group, 6) as p_top_group, round(p_stands_out, 6) as p_stands_out,
    coalesce(verdict, 'reserve') as verdict,
    cast(row_number() over best_first as int) as rank_in_venue,
    is_top_venue,
    row_number() over best_first <= 8 as is_top_band
from totals
left join levels using (venue_id, band_id)
left join chances using (venue_id, band_id)
left join verdicts using (venue_id, band_id)
left join venue_levels using (venue_id)
inner join (select venue_id, venue_name, venue_rank, is_top_venue from data_products.venue_sales) using (venue_id)
inner join star_schema.dim_bands using (band_id)
window best_first as (
    partition by venue_id order by avg_tickets_per_performance desc, tickets_sold desc, band_id
);

create table data_products.all_star_candidates as
select
    venue_rank, venue_id, venue_name, rank_in_venue, band_id, band_name, performances, festivals,
    avg_tickets_per_performance, sold_out_performances, expected_tickets, expected_low, expected_high, p_best, p_top_group,
    p_stands_out, verdict,
    format('{}. {} ({} performance{})', rank_in_venue, band_name, performances, if(performances = 1, '', 's'))
        as band_label
from data_products.band_sales_by_venue
where is_top_venue and is_top_band;

create table data_products.venue_verdicts as
with named as (
    select *, verdict = if(venue_verdict = 'no clear lead', 'safe to invite', venue_verdict) as is_named
    from data_products.band_sales_by_venue
    inner join (select distinct venue_id, venue_verdict from verdicts) using (venue_id)
    where is_top_venue
),
venues as (
    select
        venue_rank, venue_id, venue_name, venue_verdict as verdict, count(*) as all_bands,
        count(*) filter (is_named) as bands,
        coalesce(array_to_string(
            (list(band_name order by p_top_group desc, p_best desc, band_id) filter (is_named))[:8], '; '
        ), '') as band_names,
        band_names || if(bands > 8, format(' and {} more', bands - 8), '') as named_bands,
        max(p_best) as highest_p_best
    from named
    group by all
)
select
    venue_rank, venue_id, venue_name, verdict, bands, band_names, highest_p_best, case verdict
        when 'must invite' then 'Invite ' || band_names || ': the chance that no other band sells more here is '
            || if(highest_p_best >= 0.995, 'over 99', cast(cast(round(100 * highest_p_best) as int) as varchar)) || ' %.'
        when 'near-equals'
            then bands || ' bands are probably within 10 % of the best: ' || named_bands || '.'
        when 'leads on one show'
            then band_names || ' leads on a single performance. A second one would show whether that lasts.'
        else 'The records cannot tell which of ' || all_bands
            || ' bands is best; more performances might.'
            || if(bands > 0, ' Safe to invite: ' || named_bands || '.', ' None is safe to invite yet.')
    end as sentence
from venues;

create table data_products.performance_attendance as
select
    performance_id, performance_start, performance_date, sales.festival_year, sales.is_completed, band_id, band_name,
    venue_id, venue_name, tickets_sold, revenue, lowest_ticket_price,
    revenue / nullif(tickets_sold, 0) as avg_ticket_price, highest_ticket_price, sales.capacity, fill_rate
from star_schema.fct_performances as sales
inner join star_schema.dim_performances using (performance_id, band_id, venue_id)
inner join star_schema.dim_bands using (band_id)
inner join star_schema.dim_venues using (venue_id);

create table data_products.festival_sales as
with festivals as (
    select
        festival_year,
        min(performance_date) as first_day,
        bool_and(is_completed) as is_completed,
        count(*) as performances,
        cast(sum(tickets_sold) as bigint) as tickets_sold,
        cast(sum(revenue) as bigint) as revenue,
        min(lowest_ticket_price) as lowest_ticket_price,
        max(highest_ticket_price) as highest_ticket_price
    from data_products.performance_attendance
    group by festival_year
)
select
    festival_year, first_day, is_completed, if(is_completed, 'completed', 'on sale') as sales_status, performances,
    tickets_sold, revenue, lowest_ticket_price, revenue / nullif(tickets_sold, 0) as avg_ticket_price,
    highest_ticket_price,
    if(is_completed, lag(festival_year) over before, null) as previous_festival_year,
    if(is_completed, tickets_sold / nullif(lag(tickets_sold) over before, 0) - 1, null) as change_in_tickets,
    if(is_completed, revenue / nullif(lag(revenue) over before, 0) - 1, null) as change_in_revenue
from festivals
window before as (partition by is_completed order by festival_year);

create table data_products.band_sales_by_festival as
select
    festival_year, bool_and(is_completed) as is_completed, venue_id, venue_name, band_id, band_name,
    count(*) as performances,
    cast(sum(tickets_sold) as bigint) as tickets_sold,
    cast(sum(revenue) as bigint) as revenue,
    min(lowest_ticket_price) as lowest_ticket_price,
    cast(sum(revenue) / nullif(sum(tickets_sold), 0) as double) as avg_ticket_price,
    max(highest_ticket_price) as highest_ticket_price
from data_products.performance_attendance
group by all;

create table data_products.band_sales as
with recent_festivals as (
    select festival_year from festival_levels order by festival_year desc limit 3
),
played as (
    select *, if(r is not null, festival_year in (from recent_festivals), null) as is_recent
    from data_products.performance_attendance
    left join (select performance_id, r, is_log, z from ratios) using (performance_id)
    where is_completed
),
totals as (
    select
        band_id, band_name,
        count(*) as performances,
        count(distinct venue_id) as venues,
        count(distinct festival_year) as festivals,
        cast(sum(tickets_sold) as bigint) as tickets_sold,
        cast(sum(revenue) as bigint) as revenue,
        min(lowest_ticket_price) as lowest_ticket_price,
        max(highest_ticket_price) as highest_ticket_price,
        count(*) filter (not is_recent) as earlier_performances,
        avg(tickets_sold) filter (not is_recent) as earlier_avg_tickets,
        count(*) filter (is_recent) as recent_performances,
        avg(tickets_sold) filter (is_recent) as recent_avg_tickets,
        avg(z) filter (is_recent) - avg(z) filter (not is_recent) as difference,
        if(
            any_value(is_log), exp(difference) - 1,
            avg(r) filter (is_recent) / nullif(avg(r) filter (not is_recent), 0) - 1
        ) as change,
        difference / sqrt(
            (select max(sigma2 + kappa2) from priors) * (1 / recent_performances + 1 / earlier_performances)
        ) as score
    from played
    group by band_id, band_name
)
select
    band_id, band_name,
    cast(row_number() over (order by revenue desc, band_id) as int) as revenue_rank,
    performances, venues, festivals, tickets_sold, revenue,
    coalesce(cast(revenue / nullif(sum(revenue) over (), 0) as double), 0) as share_of_revenue,
    lowest_ticket_price, revenue / nullif(tickets_sold, 0) as avg_ticket_price, highest_ticket_price,
    earlier_performances, earlier_avg_tickets, recent_performances, recent_avg_tickets,
    round(change, 6) as change_in_popularity,
    case
        when earlier_performances = 0 and recent_performances > 0 then 'only recently'
        when recent_performances = 0 and earlier_performances > 0 then 'only before'
        when score >= 2.576 then 'gains'
        when score <= -2.576 then 'loses'
        else 'no clear change'
    end as trend
from totals;

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

-- Keys of the large tables: a group holds 64 consecutive numbers and one bit for each.
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

-- Foreign keys. The fact joins unique keys, so the foreign keys of tickets are valid if it contains all tickets.
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
union all select 'festival_sales', sum(tickets_sold), sum(revenue) from data_products.festival_sales
union all select 'band_sales_by_festival', sum(tickets_sold), sum(revenue) from data_products.band_sales_by_festival
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
union all select 'band_sales', sum(tickets_sold), sum(revenue) from data_products.band_sales
union all select 'venue_sales', sum(tickets_sold), sum(revenue) from data_products.venue_sales;
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
