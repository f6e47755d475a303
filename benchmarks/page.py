"""Write the pages of the refresh and extraction benchmarks from stored results: `python -m benchmarks.page`."""

from collections.abc import Mapping
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, Self

import jinja2

from acl_assets.settings import PROJECT_DIR
from benchmarks.contenders import AFTER_INCREMENT, CONTENDERS, DBT_BUILD, HAND_WRITTEN, LIMITED, REFRESH
from benchmarks.extraction.readers import EXTRACT, READERS
from benchmarks.results import (
    EXTRACTION_FILE,
    REFRESH_FILE,
    ExtractionResult,
    Figure,
    RefreshResult,
    figure,
    latency_ratio,
    read,
    wall_ratio,
)

REFRESH_PAGE = PROJECT_DIR / "docs" / "benchmarks.md"
EXTRACTION_PAGE = PROJECT_DIR / "docs" / "benchmarks_extraction.md"
_TEMPLATES = Path(__file__).with_name("templates")
_DECIMALS = {"x": 2, "s": 1, "ms": 2, "MB": 0}


class Budget(NamedTuple):
    """A limit of the project's design at one scale and the measured figure, as text."""

    text: str
    scale: float
    at_most: str
    measured: str
    holds: str

    @classmethod
    def of(cls, text: str, scale: float, limit: float, unit: str, found: Figure | None) -> Self:
        """Compare a figure with its limit. With an infinite limit the runs only need to complete."""
        holds = "not measured yet" if found is None else "yes" if found.median <= limit else "**no**"
        return cls(text, scale, "completes" if limit == inf else _number(limit, unit), _cell(found, unit), holds)


def refresh_budgets(stored: Mapping[float, RefreshResult]) -> list[Budget]:
    """Return the budgets of a refresh."""
    one, ten, thirty = (stored.get(scale) for scale in (1.0, 10.0, 30.0))
    return [
        Budget.of("refresh : dbt build, wall time", 1, 2.0, "x", wall_ratio(one, REFRESH, DBT_BUILD)),
        Budget.of("refresh, peak memory of all processes", 1, 1000, "MB", _memory(one, REFRESH)),
        Budget.of(f"{AFTER_INCREMENT} : refresh, wall time", 1, 1.1, "x", wall_ratio(one, AFTER_INCREMENT, REFRESH)),
        Budget.of("refresh : hand-written SQL, wall time", 10, 1.5, "x", wall_ratio(ten, REFRESH, HAND_WRITTEN)),
        Budget.of(f"{LIMITED}, peak memory of all processes", 30, inf, "MB", _memory(thirty, LIMITED)),
    ]


def extraction_budgets(stored: Mapping[float, ExtractionResult]) -> list[Budget]:
    """Return the budget of an extract."""
    ratio = latency_ratio(stored.get(1.0), EXTRACT, 95)
    return [Budget.of("buyers' p95 during an extract : without one", 1, 1.05, "x", ratio)]


def _memory(result: RefreshResult | None, contender: str) -> Figure | None:
    return figure(result, contender, lambda run: run.peak_memory_bytes / 1e6)


def _cell(found: Figure | None, unit: str) -> str:
    """Return a figure as text: its median, and its range in parentheses."""
    if found is None:
        return ""
    lowest, highest = (_number(value, unit).partition(" ")[0] for value in (found.lowest, found.highest))
    return f"{_number(found.median, unit)} ({lowest} to {highest})"


def _number(value: float, unit: str) -> str:
    return f"{value:,.{_DECIMALS[unit]}f}" + (f" {unit}" if unit != "x" else "")


def write_refresh_page(stored: Mapping[float, RefreshResult], page: Path = REFRESH_PAGE) -> None:
    """Write the page of the refresh benchmark."""

    def cells(result: RefreshResult, name: str) -> list[str]:
        wall, cpu = (figure(result, name, attrgetter(attribute)) for attribute in ("wall_seconds", "cpu_seconds"))
        ratio, memory = wall_ratio(result, name, REFRESH), _memory(result, name)
        return [_cell(wall, "s"), _cell(ratio, "x"), _cell(cpu, "s"), _cell(memory, "MB")]

    write_from_template(
        page, "refresh.md.jinja", results=stored, budgets=refresh_budgets(stored), cells=cells, names=CONTENDERS
    )


def write_extraction_page(stored: Mapping[float, ExtractionResult], page: Path = EXTRACTION_PAGE) -> None:
    """Write the page of the extraction benchmark."""

    def cells(result: ExtractionResult, name: str, percentile: int) -> list[str]:
        pairs = [pair for pair in result.pairs if pair.reader == name]
        without = Figure.of([pair.without[percentile] for pair in pairs])
        during = Figure.of([pair.during[percentile] for pair in pairs])
        return [_cell(without, "ms"), _cell(during, "ms"), _cell(latency_ratio(result, name, percentile), "x")]

    write_from_template(
        page, "extraction.md.jinja", results=stored, budgets=extraction_budgets(stored), cells=cells, names=READERS
    )


def write_from_template(page: Path, template: str, **values: object) -> None:
    """Write a page from one of the templates of the benchmarks."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 # Markdown of numbers and of names in this package
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(environment.get_template(template).render(**values))


if __name__ == "__main__":
    write_refresh_page(read(RefreshResult, REFRESH_FILE))
    write_extraction_page(read(ExtractionResult, EXTRACTION_FILE))
