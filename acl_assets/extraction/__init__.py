"""From the ticketing database to typed source tables: export batches, their verification and conversion."""
