"""Write the report: one HTML file with the bands to invite, the pictures, and the provenance of the data.

Numbers are those of the published data products or sums of their rows. The Content-Security-Policy of the page forbids
all network requests, and all scripts but its own two, which it names by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import jinja2
import pandas as pd
import vl_convert

from acl_assets.report import band_charts, charts
from acl_assets.report.drawable_text import drawable_frame
from acl_assets.report.drawing import DARK, PAGE, PAPER
from acl_assets.util.atomic_write import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
PREVIEW_WIDTH = 900
TIER_GLYPHS = ("●", "■", "◆", "▲", "▼", "✚")
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


# Tables by the attribute of ReportData, with their order.
_TABLES = {
    "sales_over_time": "data_products.ticket_sales_over_time order by festival_year, sale_month",
    "sales_by_venue": "data_products.ticket_sales_by_venue order by venue_rank, festival_year",
    "band_sales": "data_products.band_sales_by_venue order by venue_id, rank_in_venue",
    "candidates": "data_products.all_star_candidates order by venue_rank, rank_in_venue",
    "export_batches": "publication.export_batches order by exported_at, batch_id",
    "audit_results": "publication.audit_results order by asset_key, check_name",
}


class ReportDataError(RuntimeError):
    """The published file cannot be reported on; the message names the file and what to do."""


@dataclass(frozen=True)
class ReportData:
    """The data products and publication tables that the report shows, read from one published file; times in UTC.

    `time_zone` is the festival's, in which the page shows instants beside UTC.
    """

    sales_over_time: pd.DataFrame
    sales_by_venue: pd.DataFrame
    band_sales: pd.DataFrame
    candidates: pd.DataFrame
    unsold_performances: int
    export_batches: pd.DataFrame
    audit_results: pd.DataFrame
    publication: pd.Series
    time_zone: str


@dataclass(frozen=True)
class VenueAnswer:
    """The bands to invite at one top venue.

    Attributes:
        venue: its row of `charts.venue_standings`.
        leaders: its candidates of the first tier, best first.
        leaders_in_all: number of bands in that tier, including those beyond the candidates.
        spread: difference between the first and the last leader, as a share of the first (0-1).
    """

    venue: pd.Series
    leaders: pd.DataFrame
    leaders_in_all: int
    spread: float

    @property
    def is_clear(self) -> bool:
        """Return whether one band is alone in the first tier."""
        return self.leaders_in_all == 1

    @property
    def lead(self) -> float | None:
        """Return the distance from the last leader to the next band, as a share (0-1), None without a next band."""
        gap = self.leaders.gap_to_next.iloc[-1]
        return None if pd.isna(gap) else float(gap)


def report_on(published_file: Path, target: Path, time_zone: str) -> dict[str, dict[str, Any]]:
    """Write the report on a published file to `target`, and return its `preview_specifications`.

    Raises:
        ReportDataError: the file is missing or lacks a table or column.
    """
    data = read_report_data(published_file, time_zone)
    write_report(data, target)
    return preview_specifications(data)


def read_report_data(published_file: Path, time_zone: str) -> ReportData:
    """Read the data of the report, and replace characters that no chart can draw.

    Raises:
        ReportDataError: the file is missing or lacks a table or column.
    """
    if not published_file.is_file():
        raise ReportDataError(f"{published_file} does not exist; materialize published_warehouse first.")
    try:
        with duckdb.connect(published_file, read_only=True) as warehouse:
            publications = _read(warehouse, "from publication.publications order by published_at desc")
            if publications.empty:
                raise ReportDataError(f"{published_file} was never published; materialize published_warehouse first.")
            frames = {name: _read(warehouse, f"from {ordered}") for name, ordered in _TABLES.items()}
            return ReportData(
                unsold_performances=_unsold_performances(warehouse),
                publication=publications.iloc[0],
                time_zone=time_zone,
                **frames,
            )
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise ReportDataError(f"{published_file} is not complete, refresh it: {error}") from error


@cache
def drawing_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script


def render_report(data: ReportData) -> str:
    """Return the report as one self-contained HTML document."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=lambda number: f"{number:,.0f}",
        dollars=lambda number: f"${number:,.0f}",
        percent=lambda share: f"{share:.1%}",
        instant=partial(_instant, time_zone=data.time_zone),
        number_word=_number_word,
    )
    library = _inline_script(drawing_library())
    behaviour = _inline_script((TEMPLATES / "report.js").read_text(encoding="utf-8"))
    return environment.get_template("report.html").render(
        _page(data),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        light_colours=PAPER.css(),
        dark_colours=DARK.css(),
        library=library,
        behaviour=behaviour,
        script_digests=[_digest(library), _digest(behaviour)],
        specifications={name: chart.to_dict() for name, chart in page_charts(data).items()},
    )


def write_report(data: ReportData, target: Path) -> None:
    """Replace `target` by the report atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render_report(data))


def preview_specifications(data: ReportData) -> dict[str, dict[str, Any]]:
    """Return the three pictures in Vega-Lite, by the name of the data product each is drawn from."""
    pictures: dict[str, Any] = {
        "ticket_sales_over_time": charts.ticket_sales_over_time_chart(data.sales_over_time, width=PREVIEW_WIDTH),
        "ticket_sales_by_venue": charts.ticket_sales_by_venue_chart(data.sales_by_venue, width=PREVIEW_WIDTH),
        "band_sales_by_venue": band_charts.band_sales_of_top_venues_chart(
            data.band_sales, charts.venue_standings(data.sales_by_venue), width=PREVIEW_WIDTH
        ),
    }
    return {name: picture.to_dict() for name, picture in pictures.items()}


def page_charts(data: ReportData) -> dict[str, alt.LayerChart]:
    """Return the charts of the page by the id of their element; pictures without data are left out."""
    pictures = {}
    if len(data.sales_over_time):
        pictures["sales-by-festival"] = charts.ticket_sales_over_time_chart(data.sales_over_time, PAGE)
        pictures["sales-by-month"] = charts.ticket_sales_by_month_chart(data.sales_over_time, PAGE)
    if data.sales_by_venue.total_performances.any():
        pictures["sales-by-venue"] = charts.ticket_sales_by_venue_chart(data.sales_by_venue, PAGE)
        pictures["venues-over-time"] = charts.venue_sales_over_time_chart(data.sales_by_venue, PAGE)
    for answer in venue_answers(data):
        pictures[f"bands-at-venue-{answer.venue.venue_rank}"] = band_charts.band_sales_chart(
            data.band_sales, int(answer.venue.venue_id), int(answer.venue.venue_rank), PAGE
        )
    return pictures


def venue_answers(data: ReportData) -> list[VenueAnswer]:
    """Return the answer of each top venue that has a candidate, best venue first."""
    answers = []
    venues = charts.venue_standings(data.sales_by_venue)
    for _, venue in venues[venues.is_top_venue].iterrows():
        candidates = data.candidates[data.candidates.venue_rank == venue.venue_rank]
        leaders = candidates[candidates.tier == 1]
        if leaders.empty:
            continue
        bands = data.band_sales[data.band_sales.venue_id == venue.venue_id]
        averages = leaders.avg_tickets_per_performance
        best, last = float(averages.iloc[0]), float(averages.iloc[-1])
        answers.append(
            VenueAnswer(
                venue=venue,
                leaders=leaders,
                leaders_in_all=int((bands.tier == 1).sum()),
                spread=(best - last) / best if best else 0.0,
            )
        )
    return answers


def headline(answers: list[VenueAnswer]) -> str:
    """Return the answer in two sentences: the share of the top venues, and how many of them have a clear winner."""
    if not answers:
        return "There are no completed performances to judge by yet."
    share = sum(float(answer.venue.share_of_tickets) for answer in answers)
    venues = "One venue" if len(answers) == 1 else f"{_number_word(len(answers)).capitalize()} venues"
    clear = sum(answer.is_clear for answer in answers)
    shared = len(answers) - clear
    bands = "One band" if clear == 1 else f"{_number_word(clear).capitalize()} bands"
    others = "venue" if shared == 1 else _number_word(shared)
    if clear == 0:
        verdict = "No band stands alone at the top: near-equals lead everywhere."
    elif shared == 0:
        verdict = f"{bands} there must be invited."
    else:
        verdict = f"{bands} must be invited; near-equals lead at the other {others}."
    return f"{venues} sold {share:.0%} of all tickets. {verdict}"


def _page(data: ReportData) -> dict[str, Any]:
    """Return the variables of the template."""
    answers = venue_answers(data)
    venues = charts.venue_standings(data.sales_by_venue)
    festivals = charts.festival_totals(data.sales_over_time)
    completed = festivals[festivals.is_completed]
    audit = data.audit_results.assign(outcome=[_outcome(check) for check in data.audit_results.itertuples()])
    return {
        "answers": answers,
        "headline": headline(answers),
        "venues": _records(venues) if venues.total_performances.any() else [],
        "festivals": _records(festivals),
        "festivals_on_sale": _records(festivals[~festivals.is_completed]),
        "candidates": [
            (answer, _records(data.candidates[data.candidates.venue_rank == answer.venue.venue_rank]))
            for answer in answers
        ],
        "totals": {
            "tickets": int(venues.total_tickets_sold.sum()),
            "revenue": int(venues.total_revenue.sum()),
            "performances": int(venues.total_performances.sum()),
            "bands": int(data.band_sales.band_id.nunique()),
            "festivals": len(completed),
        },
        "period": _period(completed.festival_year),
        "unsold_performances": data.unsold_performances,
        "largest_step_within_tiers": _largest_step_within_tiers(data.candidates),
        "export_batches": _records(data.export_batches),
        "audit_results": _records(audit),
        "warnings": _records(audit[audit.outcome != "passed"]),
        "checked_at": data.audit_results.checked_at.max() if len(data.audit_results) else None,
        "publication": data.publication,
        "festival_timezone": data.time_zone,
        "tier_glyphs": TIER_GLYPHS,
    }


def _read(warehouse: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    return drawable_frame(warehouse.sql(query).df())


def _unsold_performances(warehouse: duckdb.DuckDBPyConnection) -> int:
    [(unsold,)] = warehouse.sql(
        """
        select count(*)
        from data_products.performance_attendance
        where tickets_sold = 0
            and performance_start < (select max(exported_at) from publication.export_batches)
        """
    ).fetchall()
    return int(unsold)


def _largest_step_within_tiers(candidates: pd.DataFrame) -> float | None:
    """The largest fall from one candidate to the next in the same tier (0-1), None when no tier has two."""
    next_tier = candidates.groupby("venue_rank").tier.shift(-1)
    steps = candidates.gap_to_next[candidates.tier == next_tier].dropna()
    return float(steps.max()) if len(steps) else None


def _outcome(check: Any) -> str:
    if check.passed:
        return "passed"
    return "warning" if check.severity == "WARN" else "failed"


def _period(years: pd.Series) -> str:
    if years.empty:
        return "no festival yet"
    first, last = int(years.min()), int(years.max())
    return f"{first}" if first == last else f"{first} to {last}"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries, missing values as None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[return-value]


def _number_word(number: int) -> str:
    return NUMBER_WORDS[number] if 0 <= number < len(NUMBER_WORDS) else f"{number:,}"


def _instant(moment: pd.Timestamp, time_zone: str) -> str:
    """A UTC instant without zone, in words: in UTC and on the festival's clock."""
    utc = pd.Timestamp(moment).tz_localize("UTC")
    local = utc.tz_convert(time_zone)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC ({local.day} {local:%B, %H:%M} in {time_zone})"


def _inline_script(script: str) -> str:
    """Return a script that can stand between script tags: the tag that would end it is written another way."""
    lines = script.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("</(script)", r"<\\/\1", lines, flags=re.IGNORECASE).replace("<!--", "<\\!--")


def _digest(script: str) -> str:
    """Return the name of a script in a Content-Security-Policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
