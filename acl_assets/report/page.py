"""Write the report: one HTML file with the bands to invite, the pictures, and the provenance of the data.

Numbers are those of the published data products or sums of their rows. The Content-Security-Policy of the page forbids
all network requests, and all scripts but its own, which it names by its digest. Charts are static SVG: the script only
shows what a mark stands for.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import altair as alt
import duckdb
import jinja2
import pandas as pd

from acl_assets.report import band_charts, charts
from acl_assets.report.drawable_text import drawable_frame
from acl_assets.report.drawing import DARK, MEDIUM, NARROW, PAPER, WIDE, png_of, svg_of
from acl_assets.util.atomic_write import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
VENUE_GLYPHS = ("●", "■", "◆", "▲", "▼", "✚")
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LEAST_STEP = 1.2  # a smaller change of sales is called level

# Queries by the attribute of ReportData that holds their rows.
_QUERIES = {
    "sales_over_time": "from data_products.ticket_sales_over_time order by festival_year, sale_month",
    "sales_by_venue": "from data_products.ticket_sales_by_venue order by venue_rank, festival_year",
    "band_sales": "from data_products.band_sales_by_venue order by venue_id, rank_in_venue",
    "candidates": "from data_products.all_star_candidates order by venue_rank, rank_in_venue",
    "verdicts": "from data_products.venue_verdicts order by venue_rank",
    "unsold_performances": "from data_products.performance_attendance where is_completed and tickets_sold = 0",
    "export_batches": "from publication.export_batches order by exported_at, batch_id",
    "audit_results": "from publication.audit_results order by asset_key, check_name",
    "publications": "from publication.publications order by published_at desc",
    "summary": "from publication.summary",
    "changes": "from publication.changes",
}
# Per verdict, with the number of venues and the form of "to have".
_HEADLINES = {
    "must invite": "{0} {1} a must-invite",
    "near-equals": "{0} {1} near-equals",
    "leads on one show": "{0} {1} a leader that played once",
    "no clear lead": "{0} {1} no clear lead",
}
# Changes since the publication before, the most important first.
_CHANGES = ["venue verdict", "venue rank", "band verdict", "band rank", "new band"]
_MOST_CHANGES = 4  # shown of a venue


class ReportDataError(RuntimeError):
    """The published file cannot be reported on; the message names the file and what to do."""


@dataclass(frozen=True)
class VenueAnswer:
    """The verdict on one top venue, with the bands that it names.

    Attributes:
        venue: its row of `charts.venue_standings`.
        verdict: its row of `venue_verdicts`.
        named: the bands that the verdict names, the likeliest first; without a clear lead those safe to invite.
        all_bands: number of bands with a completed performance there.
        likelier_elsewhere: names of bands outside the picture that are likelier in the top group than one in it.
    """

    venue: pd.Series
    verdict: pd.Series
    named: pd.DataFrame
    all_bands: int
    likelier_elsewhere: list[str]

    @property
    def in_words(self) -> tuple[str, str]:
        """Return the name of the verdict, and what it means in a few words."""
        return band_charts.verdict_in_words(self.verdict.verdict, int(self.verdict.bands))


@dataclass(frozen=True)
class ReportData:
    """The rows that the report shows, read from one published file; times in UTC.

    `time_zone` is the festival's, in which the page shows instants, next to UTC.
    """

    sales_over_time: pd.DataFrame
    sales_by_venue: pd.DataFrame
    band_sales: pd.DataFrame
    candidates: pd.DataFrame
    verdicts: pd.DataFrame
    unsold_performances: pd.DataFrame
    export_batches: pd.DataFrame
    audit_results: pd.DataFrame
    publications: pd.DataFrame
    summary: pd.DataFrame
    changes: pd.DataFrame
    time_zone: str

    @cached_property
    def answers(self) -> list[VenueAnswer]:
        """The answer of each top venue with a completed performance, best venue first."""
        standings = charts.venue_standings(self.sales_by_venue).set_index("venue_id", drop=False)
        answers = []
        for _, verdict in self.verdicts.iterrows():
            # The order in which venue_verdicts names the bands.
            bands = self.band_sales[self.band_sales.venue_id == verdict.venue_id].sort_values(
                ["p_top_group", "p_best", "band_id"], ascending=[False, False, True]
            )
            least = bands.p_top_group[bands.is_top_band].min()
            likelier = bands[~bands.is_top_band & (bands.p_top_group > least) & (bands.verdict != "reserve")]
            answers.append(
                VenueAnswer(
                    venue=standings.loc[verdict.venue_id],
                    verdict=verdict,
                    named=bands.head(verdict.bands),
                    all_bands=len(bands),
                    likelier_elsewhere=list(likelier.band_name),
                )
            )
        return answers


@dataclass(frozen=True)
class ChartOnPage:
    """A chart as the page holds it: what it shows in words, and its drawings for narrow to wide places."""

    description: str
    drawings: list[str]


def report_on(published_file: Path, target: Path, time_zone: str) -> dict[str, bytes]:
    """Write the report on a published file to `target`, and return its pictures as `previews`.

    Raises:
        ReportDataError: the file is missing or lacks a table or column.
    """
    data = read_report_data(published_file, time_zone)
    charts_on_page = page_charts(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render_report(data, charts_on_page))
    return previews(data, charts_on_page)


def read_report_data(published_file: Path, time_zone: str) -> ReportData:
    """Read the data of the report, and replace characters that no chart can draw.

    Raises:
        ReportDataError: the file is missing or lacks a table or column.
    """
    if not published_file.is_file():
        raise ReportDataError(f"{published_file} does not exist; materialize published_warehouse first.")
    try:
        with duckdb.connect(published_file, read_only=True) as warehouse:
            frames = {name: drawable_frame(warehouse.sql(query).df()) for name, query in _QUERIES.items()}
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise ReportDataError(f"{published_file} is not complete, refresh it: {error}") from error
    if frames["publications"].empty or frames["summary"].empty:
        raise ReportDataError(f"{published_file} was never published; materialize published_warehouse first.")
    return ReportData(**frames, time_zone=time_zone)


def render_report(data: ReportData, charts_on_page: dict[str, ChartOnPage]) -> str:
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
        change=lambda share: "" if share is None else f"{share:+.0%}",
        instant=lambda moment: _instant(moment, data.time_zone),
        number_word=_number_word,
        chance=band_charts.chance_text,
    )
    behaviour = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        _figures(data),
        charts=charts_on_page,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        light_colours=PAPER.css(),
        dark_colours=DARK.css(),
        behaviour=behaviour,
        script_digest="sha256-" + base64.b64encode(hashlib.sha256(behaviour.encode()).digest()).decode(),
    )


def page_charts(data: ReportData) -> dict[str, ChartOnPage]:
    """Return the charts of the page by the id of their element; pictures without data are left out."""
    pictures = {}
    if len(data.sales_over_time):
        over_time = data.sales_over_time
        pictures["sales-by-festival"] = ChartOnPage(
            "Tickets sold per festival", _drawn(charts.sales_by_festival_chart, over_time, NARROW, MEDIUM, WIDE)
        )
        pictures["sales-by-month"] = ChartOnPage(
            "Tickets sold per month of sale", _drawn(charts.sales_by_month_chart, over_time, NARROW, MEDIUM, WIDE)
        )
    if data.sales_by_venue.total_performances.any():
        by_venue = data.sales_by_venue
        pictures["sales-by-venue"] = ChartOnPage(
            "Tickets sold per venue, best first", _drawn(charts.sales_by_venue_chart, by_venue, NARROW, MEDIUM)
        )
        pictures["venues-over-time"] = ChartOnPage(
            "Tickets sold per venue and festival", _drawn(charts.venues_over_time_chart, by_venue, NARROW, MEDIUM)
        )
    for answer in data.answers:
        chart = band_charts.band_sales_chart(data.band_sales, answer.venue.venue_id, answer.venue.venue_rank)
        pictures[f"bands-at-venue-{answer.venue.venue_rank}"] = ChartOnPage(
            f"Average tickets per performance of the top bands at {answer.venue.venue_name}", [svg_of(chart)]
        )
    return pictures


def previews(data: ReportData, charts_on_page: dict[str, ChartOnPage]) -> dict[str, bytes]:
    """Return the three pictures as PNG, by the name of the data product each is drawn from."""
    venues = [answer.venue for answer in data.answers]
    pictures = {
        "ticket_sales_over_time": {"sales-by-festival": "Tickets per festival"},
        "ticket_sales_by_venue": {"sales-by-venue": "Tickets per venue"},
        "band_sales_by_venue": {
            f"bands-at-venue-{venue.venue_rank}": f"{venue.venue_rank}. {venue.venue_name}" for venue in venues
        },
    }
    return {
        name: png_of([charts_on_page[chart].drawings[-1] for chart in titles], list(titles.values()))
        for name, titles in pictures.items()
        if titles and titles.keys() <= charts_on_page.keys()
    }


def _drawn(draw: Callable[[pd.DataFrame, int], alt.LayerChart], rows: pd.DataFrame, *widths: int) -> list[str]:
    return [svg_of(draw(rows, width)) for width in widths]


def headline(answers: list[VenueAnswer]) -> str:
    """Return the answer in two sentences: the share of the top venues, and what the records say about each."""
    if not answers:
        return "There are no completed performances to judge by yet."
    venues = "One venue" if len(answers) == 1 else f"{_number_word(len(answers)).capitalize()} venues"
    verdicts = [answer.verdict.verdict for answer in answers]
    parts = [
        text.format(_number_word(count), "has" if count == 1 else "have")
        for verdict, text in _HEADLINES.items()
        if (count := verdicts.count(verdict))
    ]
    findings = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    return f"{venues} sold {_share_of_tickets(answers):.0%} of all tickets: {findings}."


def sales_finding(festivals: pd.DataFrame) -> str:
    """Return the largest step in the sales of completed festivals, between the three before and the three after it.

    `festivals` is that of `charts.festival_totals`. With fewer than six completed festivals there is no finding.
    """
    tickets = festivals[festivals.is_completed].set_index("festival_year").tickets_sold.sort_index()
    three_before = tickets.rolling(3).sum().shift()
    three_from = tickets[::-1].rolling(3).sum()[::-1]
    steps = (three_from / three_before.clip(lower=1)).dropna()
    if steps.empty:
        return ""
    year, factor = max(steps.items(), key=lambda step: abs(math.log(max(step[1], 1e-9))))
    if 1.85 <= factor < 2.25:
        return f"doubled from {year}"
    if factor >= _LEAST_STEP:
        return f"rose by {factor - 1:.0%} from {year}"
    if factor <= 1 / _LEAST_STEP:
        return f"fell by {1 - factor:.0%} from {year}"
    return f"about level from {tickets.index[0]} to {tickets.index[-1]}"


def venues_finding(answers: list[VenueAnswer]) -> str:
    """Return which share of all tickets the top venues sold."""
    return f"{_number_word(len(answers))} sold {_share_of_tickets(answers):.0%} of all" if answers else ""


def changes_by_venue(changes: pd.DataFrame) -> list[tuple[str, list[str], int]]:
    """Return the name of each venue, its changes in words, and how many more there are; new bands come last."""
    # Bands are new to the whole festival; the rows of other changes name a venue.
    new = changes[changes.change == "new band"]
    others = changes.drop(new.index)
    in_order = others.assign(place=others.change.map(_CHANGES.index)).sort_values("place", kind="stable")
    groups = [
        (str(venue), [_in_words(row) for row in _records(rows)]) for venue, rows in in_order.groupby("venue_name")
    ]
    if len(new):
        groups.append(("New bands", list(new.band_name)))
    return [(name, words[:_MOST_CHANGES], max(0, len(words) - _MOST_CHANGES)) for name, words in groups]


def _in_words(change: dict[str, Any]) -> str:
    subject = f"{change['band_name']}: " if change["band_name"] else ""
    kind = change["change"].split()[1]
    before, after = (change[time] if change[time] is not None else f"no {kind}" for time in ("before", "after"))
    return f"{subject}{kind} {before}, now {after}" if change["before"] else f"{subject}new, {kind} {after}"


def _share_of_tickets(answers: list[VenueAnswer]) -> float:
    return sum(float(answer.venue.share_of_tickets) for answer in answers)


def _figures(data: ReportData) -> dict[str, Any]:
    """Return what the template shows of the data."""
    venues = charts.venue_standings(data.sales_by_venue)
    festivals = charts.festival_totals(data.sales_over_time)
    # A festival on sale is not over, and a first one has none before it.
    change = festivals.tickets_sold.pct_change().where(festivals.is_completed)
    festivals = festivals.assign(change=change.replace(math.inf, math.nan))
    completed = festivals[festivals.is_completed]
    audit = data.audit_results.assign(
        outcome=[
            "passed" if check.passed else "warning" if check.severity == "WARN" else "failed"
            for check in data.audit_results.itertuples()
        ]
    )
    return {
        "answers": data.answers,
        "headline": headline(data.answers),
        "sales_finding": sales_finding(festivals),
        "venues_finding": venues_finding(data.answers),
        "venues": _records(venues) if venues.total_performances.any() else [],
        "festivals": _records(festivals),
        "festivals_on_sale": _records(festivals[~festivals.is_completed]),
        "candidates": [
            (answer, _records(data.candidates[data.candidates.venue_rank == answer.venue.venue_rank]))
            for answer in data.answers
        ],
        "totals": {
            "tickets": int(venues.total_tickets_sold.sum()),
            "revenue": int(venues.total_revenue.sum()),
            "performances": int(venues.total_performances.sum()),
            "bands": int(data.band_sales.band_id.nunique()),
            "festivals": len(completed),
        },
        "period": _period(completed.festival_year.tolist()),
        "unsold_performances": len(data.unsold_performances),
        "export_batches": _records(data.export_batches),
        "audit_results": _records(audit),
        "warnings": _records(audit[audit.outcome != "passed"]),
        "checked_at": data.audit_results.checked_at.max() if len(data.audit_results) else None,
        "publication": data.publications.iloc[0],
        "changes_since": _records(data.summary)[0]["changes_since"],
        "statement": data.summary.statement.iloc[0],
        "changes": changes_by_venue(data.changes),
        "venue_glyphs": VENUE_GLYPHS,
        "named_verdicts": band_charts.NAMED_VERDICTS,
    }


def _period(years: list[int]) -> str:
    if len(years) > 1:
        return f"{years[0]} to {years[-1]}"
    return str(years[0]) if years else "no festival yet"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries, missing values as None."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")  # type: ignore[return-value]


def _number_word(number: int) -> str:
    return NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else f"{number:,}"


def _instant(moment: pd.Timestamp, time_zone: str) -> str:
    """Return a UTC instant without zone in words: in UTC and on the festival's clock."""
    utc = pd.Timestamp(moment).tz_localize("UTC")
    local = utc.tz_convert(time_zone)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC ({local.day} {local:%B, %H:%M} in {time_zone})"
