"""A ticketing system to practise on: its schema, 20 years of sales as export batches, and a live PostgreSQL."""
