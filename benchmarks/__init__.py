"""How fast a refresh is, against what, and how it grows: `python -m benchmarks`.

What belongs here: contenders that do the same work, measuring them from outside, and the page that shows the results.
What does not: anything the product imports, and anything that makes a contender faster than people meet it.
"""
