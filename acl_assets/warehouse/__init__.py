"""From source tables to star schema and data products: the dbt models as assets."""
