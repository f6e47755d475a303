"""The all-stars question of the Austin City Limits festival as a Dagster + dbt project.

The packages follow the data: `landing_zone`, `extraction`, `source_tables`, `warehouse`, then `report` and `superset`.
Each imports only from those before it and from `settings`, `source_schema` and `util`. `simulator` is a ticketing
system to practise on, and `definitions` alone wires everything together.
"""
