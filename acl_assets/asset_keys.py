"""The names that the assets share: keys, groups, owners, the freshness policy and names of metadata."""

from datetime import timedelta

from dagster import AssetKey, FreshnessPolicy

TICKETING_PREFIX = "ticketing"
SOURCE_PREFIX = "festival"
STAR_SCHEMA_PREFIX = "star_schema"
DATA_PRODUCTS_PREFIX = "data_products"

TICKET_SALES_FACT = AssetKey([STAR_SCHEMA_PREFIX, "fct_ticket_sales"])
PUBLISHED_WAREHOUSE = AssetKey("published_warehouse")

TICKETING_GROUP = "ticketing"
SOURCE_TABLES_GROUP = "source_tables"
PUBLICATION_GROUP = "publication"
VISUALIZATION_GROUP = "visualization"

OWNERS = ("team:festival-data",)
TICKETING_OWNERS = ("team:box-office",)

WARN_AFTER, FAIL_AFTER = timedelta(hours=26), timedelta(hours=50)
"""The festival exports every night: warn after one missing export, fail after two. dbt's sources have the same."""
FRESHNESS = FreshnessPolicy.time_window(fail_window=FAIL_AFTER, warn_window=WARN_AFTER)

ROW_COUNT_METADATA = "dagster/row_count"
COLUMN_SCHEMA_METADATA = "dagster/column_schema"
COLUMN_LINEAGE_METADATA = "dagster/column_lineage"
STATE_DIGEST_METADATA = "state_digest"
CODE_METADATA = "code"
BATCH_TAG = "acl/export_batch"

PERSONAL_DATA_TAGS = {"pii": ""}
"""Tags of assets and columns that hold personal data."""


def ticketing_key(table: str) -> AssetKey:
    """The key of a table of the ticketing database."""
    return AssetKey([TICKETING_PREFIX, table])


def source_table_key(table: str) -> AssetKey:
    """The key of a source table in typed Parquet."""
    return AssetKey([SOURCE_PREFIX, table])
