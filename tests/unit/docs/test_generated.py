"""The generated sections of the docs match the code."""

import pytest

from acl_assets.definitions import defs
from acl_assets.warehouse.project import dbt_project, load_manifest
from docs.generate.__main__ import DOCS_DIR, main, make_sections
from docs.generate.data_dictionary import checks_of
from docs.generate.pages import current_pages, outdated_pages


def test_committed_pages_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_changed_column_makes_dictionary_and_diagram_outdated() -> None:
    changed = dict(load_manifest(dbt_project()))
    changed["nodes"]["model.acl_assets.dim_bands"]["columns"]["fee"]["data_type"] = "double"
    pages = current_pages(DOCS_DIR, make_sections(changed, checks_of(defs)))
    assert [page.name for page in outdated_pages(pages)] == ["data_dictionary.md", "pipeline.md"]


def test_dictionary_has_tables_without_a_check() -> None:
    assert "### dim_bands" in make_sections(load_manifest(dbt_project()), [])["data-dictionary"]


def test_the_pipeline_lists_every_data_product() -> None:
    nodes = load_manifest(dbt_project())["nodes"].values()
    products = {node["name"] for node in nodes if node["schema"] == "data_products"}
    listed = (DOCS_DIR / "pipeline.md").read_text().split("## 4. Data products")[1].split("### The rules")[0]
    assert {name for name in products if f"\n| `{name}` |" not in listed} == set()
