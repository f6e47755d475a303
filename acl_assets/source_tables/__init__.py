"""From an export batch to typed Parquet: readers, rejects, conversion, the current state, and the assets."""
