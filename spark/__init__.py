"""Run a Spark cluster on this machine, for tests and practice."""
