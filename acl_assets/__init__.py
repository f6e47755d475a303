"""The all-stars question of the Austin City Limits festival as a Dagster + dbt project.

The packages follow the data: `landing_zone`, `extraction`, `source_tables`, `warehouse`, then `report` and `superset`.
Each imports only from those before it and from `settings`, `source_schema` and `util`. `simulator` is a ticketing
system to practise on, and `definitions` alone wires everything together.
"""

import gc

# Most objects are made by imports and stay. Searching for garbage after every 700 new ones, as Python does by default,
# takes a second of a refresh.
gc.set_threshold(50_000)
