-- One purchase of a pgbench client. Some buyers open an account, some pay slowly, so that their purchase is committed
-- after others with higher ids, and some give up. Python passes the variables that are not set here.

\set any_person random(1, :person_count)
\set is_new_account random(1, 10) / 10
\set is_slow random(1, 10) / 10
\set is_abandoned random(1, 33) / 33
\set payment_ms random(1, :longest_payment_ms)
\set wanted random(1, 4)
\set price_step 5 * random(-1, 1)

begin;

select id as person from people where id >= :any_person order by id limit 1 \gset

\if :is_new_account
insert into people (name) select name from people where id = :person returning id as person \gset
\endif

-- The lock keeps the seats of the performance until the end of the transaction. Other buyers look elsewhere.
select coalesce(max(id), 0) as performance
from (
    select id
    from performances
    where performance_start > to_timestamp(:opened_at)
    order by random()
    limit 1
    for no key update skip locked
) as free \gset

-- A statement of its own: it sees what the last holder of the lock has sold.
with offer as (
    select
        venues.capacity - count(tickets.id) as seats_left,
        coalesce(mode() within group (order by tickets.price) filter (where tickets.price > 0), 25) as usual_price
    from performances
    inner join venues on performances.venue_id = venues.id
    left join tickets on performances.id = tickets.performance_id
    where performances.id = :performance
    group by venues.capacity
),

purchase as (
    insert into purchases (purchase_date, person_id)
    select clock_timestamp() - make_interval(secs => :seconds_behind), :person from offer where seats_left >= :wanted
    returning id
),

seats as (
    select nextval(pg_get_serial_sequence('tickets', 'id')) as id, purchase.id as purchase_id
    from purchase
    cross join generate_series(1, :wanted)
)

-- Ticket numbers continue those of the history; see ticket_numbers in sales.py.
insert into tickets (id, price, performance_id, purchase_id, ticketnum)
select
    seats.id,
    greatest(0, offer.usual_price + :price_step),
    :performance,
    seats.purchase_id,
    'TT' || lpad((seats.id::numeric * 7574892183 % 100000000000000)::text, 14, '0')
from seats
cross join offer;

\if :is_slow
\sleep :payment_ms ms
\endif

\if :is_abandoned
rollback;
\else
commit;
\endif
