"""A ticketing system to practise on: its schema, 20 years of sales, and defects to plant in their exports."""
