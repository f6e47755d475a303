"""From the published file to Apache Superset: its server, the dashboards kept as code, and whether they tell the truth."""
