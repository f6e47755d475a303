"""From the published file to Apache Superset: the dashboards as code, their import and export, and chart checks."""
