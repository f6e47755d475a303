"""Insert generated sections into Markdown pages.

A page marks the place of a section with the lines `<!-- generated: name -->` and `<!-- end of generated -->`. The
section replaces the text between them.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_PLACE = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end of generated -->)", re.DOTALL
)


class PlaceError(ValueError):
    """A page has a place for an unknown section, or a section has no place on any page."""


def current_pages(docs_dir: Path, sections: Mapping[str, str]) -> dict[Path, str]:
    """Return the current text of every Markdown page below a folder that has a place, by path.

    Raises:
        PlaceError: places and sections do not match.
    """
    pages: dict[Path, str] = {}
    placed: set[str] = set()
    for path in sorted(docs_dir.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        names = {place["name"] for place in _PLACE.finditer(text)}
        if unknown := names - sections.keys():
            raise PlaceError(f"{path} has a place for {', '.join(sorted(unknown))}, which is not generated.")
        if names:
            pages[path] = _PLACE.sub(lambda place: f"{place['begin']}{sections[place['name']]}\n{place['end']}", text)
        placed |= names
    if missing := sections.keys() - placed:
        raise PlaceError(f"No page below {docs_dir} has a place for {', '.join(sorted(missing))}. Add it to a page.")
    return pages


def outdated_pages(pages: Mapping[Path, str]) -> list[Path]:
    """Return the pages whose file differs from the given text."""
    return [path for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
