"""A ticketing system to practise on: its schema, 20 years of synthetic sales, and defects to plant in their exports."""
