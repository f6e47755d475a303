"""From source tables to star schema and data products: the dbt models as assets.

dagster-dbt does without dbt-core where that cannot be imported; where it can, it loads 800 modules of it, which a
run would keep beside the dbt process that does the work. So whoever comes here first imports it with dbt hidden.
"""

from acl_assets.warehouse.hidden_package import hidden_package

with hidden_package("dbt"):
    import dagster_dbt as dagster_dbt
