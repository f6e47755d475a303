"""Makes the parts of the documentation that follow from the code: diagrams, the data dictionary, screenshots.

What belongs here: turning the DDL, the dbt manifest and the running UI into Markdown and pictures. What does not:
prose, which is written by hand around the generated sections.
"""
