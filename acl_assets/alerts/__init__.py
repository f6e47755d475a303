"""Send messages about failed runs, failed checks and data that is too old."""
