-- PostgreSQL's image runs this after instance_database.sql, when it makes the database.
\getenv password DAGSTER_POSTGRES_PASSWORD
alter role dagster password :'password';
