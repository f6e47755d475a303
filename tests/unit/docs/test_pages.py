"""The pages name only links, pictures, commands, settings, variables and files that exist."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from acl_assets.settings import PROJECT_DIR, Settings

PAGES = sorted([*PROJECT_DIR.glob("*.md"), *PROJECT_DIR.glob("superset/*.md"), *PROJECT_DIR.glob("docs/**/*.md")])
REFERENCE = (PROJECT_DIR / "docs" / "reference.md").read_text(encoding="utf-8")


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            yield target


def _anchors(page: Path) -> set[str]:
    """The anchors GitHub makes of headings: lower case, punctuation dropped, spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_DIR)))
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for link in _links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name} links to {link}"


def test_functions_named_with_a_link_are_defined_in_that_file() -> None:
    text = (PROJECT_DIR / "docs" / "how_a_refresh_works.md").read_text(encoding="utf-8")
    links = re.findall(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)\)", text)
    assert links
    for name, path in links:
        code = (PROJECT_DIR / path).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", code, re.MULTILINE), name


def test_every_picture_is_shown_on_a_page() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in _links(page)}
    for image in (PROJECT_DIR / "docs" / "images").iterdir():
        assert image in shown


def test_the_commands_named_are_targets_of_the_makefile() -> None:
    makefile = (PROJECT_DIR / "Makefile").read_text(encoding="utf-8")
    documented = set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z-]+)", _code(page))}
    assert named - documented == set()


def _code(page: Path) -> str:
    return "\n".join(re.findall(r"```.*?```|`[^`\n]*`", page.read_text(encoding="utf-8"), flags=re.DOTALL))


def test_settings_named_on_pages_and_in_deployments_exist() -> None:
    files = [
        *PAGES,
        *(path for path in (PROJECT_DIR / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"),
    ]
    named = {name for file in files for name in re.findall(r"\bACL_[A-Z_]+\b", file.read_text(encoding="utf-8"))}
    assert named <= {f"ACL_{name.upper()}" for name in Settings.model_fields}


def test_the_rules_name_every_dbt_var_with_its_value() -> None:
    project = yaml.safe_load((PROJECT_DIR / "dbt" / "dbt_project.yml").read_text(encoding="utf-8"))
    pipeline = (PROJECT_DIR / "docs" / "pipeline.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \| [^|]+ \|$", pipeline, flags=re.MULTILINE))
    assert {name: str(value) for name, value in project["vars"].items()} == named


def test_the_map_names_every_entry_at_the_top_of_the_repository() -> None:
    listed = subprocess.run(
        [shutil.which("git") or "git", "ls-files"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    entries = {f"{path.split('/')[0]}/" if "/" in path else path for path in listed}
    section = REFERENCE.split("## Map of the repository")[1]
    named = set(re.findall(r"`([^`]+)`", section))
    assert entries - named == set()
