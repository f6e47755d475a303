"""Definitions that `dg scaffold defs` adds; `acl_assets.definitions` merges them with the others."""
