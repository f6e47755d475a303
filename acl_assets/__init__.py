"""The all-stars question of the Austin City Limits festival as a Dagster + dbt project.

The packages follow the data from left to right: `ingestion`, `transformation`, `validation`, `publication`,
`visualization`; each imports only from those before it and from `settings`. `simulator` is a ticketing system
to practise on, and `definitions` alone wires everything together.
"""
