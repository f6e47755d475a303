"""Measure what buyers of tickets notice while the ticketing database is extracted."""
