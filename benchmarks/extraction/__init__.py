"""What an extract costs the buyers, the server and the machine it runs on: `python -m benchmarks.extraction`.

What belongs here: ways to read a ticketing database that sells, measured against each other, and what a batch of
changes costs against a full one. What does not: the cost of a refresh by itself (`benchmarks`).
"""
