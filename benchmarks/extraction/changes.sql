-- What happens between two extracts, in one transaction: 0.8 % more purchases and tickets, and 0.2 % of the tickets
-- that were there are corrected. The last row says how many seats were wanted and how many were found.

begin;

create temporary table goal on commit drop as
select
    (select count(*) from tickets) * 8 / 1000 as tickets,
    (select count(*) from purchases) * 8 / 1000 as purchases,
    (select max(id) from purchases) as last_purchase,
    (select purchase_date from purchases order by id desc limit 1) as sold_until;

-- Every five-hundredth; the same ones every time.
update tickets set price = price + 5 where id % 500 = 0;

-- Whoever bought last buys again.
insert into purchases (id, purchase_date, person_id)
select
    goal.last_purchase + buyers.number,
    goal.sold_until + buyers.number * interval '1 millisecond',
    buyers.person_id
from goal
cross join (select person_id, row_number() over (order by id desc) as number from purchases) as buyers
where buyers.number <= goal.purchases;

create temporary table found on commit drop as
with seats_left as (
    select
        performances.id as performance_id,
        venues.capacity - (select count(*) from tickets where tickets.performance_id = performances.id) as seats
    from performances
    inner join venues on performances.venue_id = venues.id
    cross join goal
    -- A day before the show, so that whoever pays slowly still sees it.
    where performances.performance_start > goal.sold_until + interval '1 day'
),

seats as (
    select
        performance_id,
        row_number() over (order by number, performance_id) as number
    from seats_left
    cross join generate_series(1, seats) as number
)

select
    nextval(pg_get_serial_sequence('tickets', 'id')) as id,
    seats.performance_id,
    goal.last_purchase + 1 + (seats.number - 1) * goal.purchases / goal.tickets as purchase_id
from seats
cross join goal
where seats.number <= goal.tickets
order by seats.number;

insert into tickets (id, price, performance_id, purchase_id, ticketnum)
select
    id,
    25,
    performance_id,
    purchase_id,
    'TT' || lpad((99999999999999 - id)::text, 14, '0')
from found
-- Once in many runs the history has drawn such a number.
on conflict (ticketnum) do nothing;

select setval(pg_get_serial_sequence('purchases', 'id'), (select max(id) from purchases)) as last_id \g /dev/null

select
    goal.tickets,
    (select count(*) from found) as seats
from goal;

commit;
