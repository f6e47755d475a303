-- One purchase of a pgbench client: it looks up a person, counts the seats left and buys two tickets.

\set any_person random(1, :people)
\set any_performance random(1, :performances)
\set first random(0, 99999999999999)
\set second random(0, 99999999999999)

begin;

select id as person, name from people where id >= :any_person order by id limit 1 \gset

select id as performance from performances where id >= :any_performance order by id limit 1 \gset

select venues.name, venues.capacity - count(tickets.id) as seats_left
from performances
inner join venues on performances.venue_id = venues.id
left join tickets on performances.id = tickets.performance_id
where performances.id = :performance
group by venues.name, venues.capacity;

insert into purchases (person_id) values (:person) returning id as purchase \gset

insert into tickets (price, performance_id, purchase_id, ticketnum)
values
    (25, :performance, :purchase, 'TT' || lpad((:first)::text, 14, '0')),
    (25, :performance, :purchase, 'TT' || lpad((:second)::text, 14, '0'))
on conflict (ticketnum) do nothing;

commit;
