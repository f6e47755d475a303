"""Generate the diagrams, tables and screenshots of the documentation from the code."""
