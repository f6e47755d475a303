"""Documentation; the one thing in it that runs is `docs.generate`."""
