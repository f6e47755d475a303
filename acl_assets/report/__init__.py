"""From the published file to what people look at: charts and the report."""
