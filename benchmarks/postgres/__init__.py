"""The classic way: PostgreSQL as the warehouse, loaded by `copy`, built and tested by dbt with the same models.

What belongs here: what it takes to run this project's dbt files on PostgreSQL. What does not: anything the product
imports, and any rule or model of its own.
"""
