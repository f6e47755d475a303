"""Documentation; `docs.generate` is its only program."""
