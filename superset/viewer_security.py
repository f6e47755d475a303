"""Security manager that lets people who cannot save charts ask for saved charts only, without SQL of their own."""

import json
from collections.abc import Iterable
from typing import Any

from flask import request
from superset.errors import ErrorLevel, SupersetError, SupersetErrorType
from superset.exceptions import SupersetSecurityException
from superset.security import SupersetSecurityManager
from viewer_requests import RESULT_TYPES, refusal_of_chart, refusal_of_filter_values

_ATTRIBUTES = (
    *("columns", "metrics", "orderby", "series_columns", "series_limit_metric", "granularity", "time_shift"),
    *("time_offsets", "annotation_layers", "post_processing", "extras"),
)
"""Attributes of Superset's QueryObject with the same name in a query context."""


class ViewerSecurityManager(SupersetSecurityManager):
    """Superset's security manager, stricter for people who cannot save charts.

    Superset has such a rule for embedded guests (`query_context_modified`), but it passes requests without a chart or
    without form data.
    """

    def raise_for_access(self, *arguments: Any, **keywords: Any) -> None:
        """Raise SupersetSecurityException if the user may not read this, or sends SQL without the right to."""
        if not self.can_access("can_write", "Chart"):
            context = keywords.get("query_context")
            if context is not None and (reason := self._refusal(context)):
                raise _refused(reason)
            if any(keywords.get(name) is not None for name in ("query", "sql", "viz")):
                raise _refused("the request does not belong to a chart")
        super().raise_for_access(*arguments, **keywords)

    def _refusal(self, context: Any) -> str | None:
        queries = [
            {"filters": query.filter, **{name: getattr(query, name, None) for name in _ATTRIBUTES}}
            for query in context.queries
        ]
        types = {context.result_type, *(query.result_type for query in context.queries)} - {None}
        for result_type in types:
            if str(getattr(result_type, "value", result_type)) not in RESULT_TYPES:
                return f"results of type {result_type} are for people who make charts"
        columns = {column.column_name for column in getattr(context.datasource, "columns", [])}
        form_data = context.form_data if isinstance(context.form_data, dict) else {}
        if filter_id := form_data.get("native_filter_id"):
            column = self._filter_column(form_data.get("dashboardId"), filter_id, context.datasource)
            if column is None:
                return "the dashboard has no such filter"
            return _first(refusal_of_filter_values(query, column, columns) for query in queries)
        chart = context.slice_ or self._chart_of_address()
        if chart is None or chart.query_context is None:
            return "the request names no saved chart"
        if (chart.datasource_id, chart.datasource_type) != (context.datasource.id, context.datasource.type):
            return "the saved chart reads another dataset"
        saved = [*json.loads(chart.query_context)["queries"], chart.params_dict]
        return _first(refusal_of_chart(query, saved, columns) for query in queries)

    def _chart_of_address(self) -> Any:
        """Return the chart whose saved query the address asks for, or None."""
        from superset.models.slice import Slice

        if request and request.endpoint == "ChartDataRestApi.get_data":
            return self.session.get(Slice, request.view_args["pk"])
        return None

    def _filter_column(self, dashboard_id: Any, filter_id: str, datasource: Any) -> str | None:
        """Return the column of a dashboard's native filter on a dataset, or None if there is no such filter."""
        from superset.models.dashboard import Dashboard

        dashboard = self.session.get(Dashboard, dashboard_id) if isinstance(dashboard_id, int) else None
        if dashboard is None or not self.can_access_dashboard(dashboard):
            return None
        for entry in json.loads(dashboard.json_metadata or "{}").get("native_filter_configuration", []):
            for target in entry.get("targets", []):
                if entry.get("id") == filter_id and target.get("datasetId") == datasource.id:
                    return target.get("column", {}).get("name")
        return None


def _first(reasons: Iterable[str | None]) -> str | None:
    return next((reason for reason in reasons if reason), None)


def _refused(reason: str) -> SupersetSecurityException:
    return SupersetSecurityException(
        SupersetError(
            error_type=SupersetErrorType.DASHBOARD_SECURITY_ACCESS_ERROR,
            message=f"Viewers can ask for the data of saved charts only: {reason}. Ask an analyst for another chart.",
            level=ErrorLevel.WARNING,
        )
    )
