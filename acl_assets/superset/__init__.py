"""From the published file to Apache Superset: the dashboards kept as code, and whether they tell the truth."""
