"""Tell people of failed runs, failed checks and data that is too old."""
