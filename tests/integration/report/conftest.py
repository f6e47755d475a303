"""The sample warehouse and the report made of it."""

from report.fixtures import published_file, report_data, report_file, warehouse

__all__ = ["published_file", "report_data", "report_file", "warehouse"]
