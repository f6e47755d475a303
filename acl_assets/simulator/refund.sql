-- A refund by a pgbench client: the tickets of a purchase get the price 0, or are deleted with their purchase.

\set any_purchase random(:first_purchase, :last_purchase)

begin;

select coalesce(max(id), 0) as purchase
from (
    select id from purchases where id >= :any_purchase order by id limit 1 for update skip locked
) as refundable \gset

\if :is_deleted
delete from tickets where purchase_id = :purchase;
delete from purchases where id = :purchase;
\else
update tickets set price = 0 where purchase_id = :purchase and price > 0;
\endif

commit;
