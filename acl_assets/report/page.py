"""Write the report: one HTML file with the bands to invite, the pictures, and the provenance of the data.

Numbers are those of the published data products or sums of their rows. The Content-Security-Policy of the page forbids
all network requests, and all scripts but its own, which it names by its digest. Charts are static SVG: the script only
shows what a mark stands for.
"""

import base64
import hashlib
import math
import re
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import pandas as pd

from acl_assets.report import band_charts, charts
from acl_assets.report.drawing import DARK, MEDIUM, NARROW, PAPER, WIDE, percent, picture_of, svg_of, venue_colour
from acl_assets.util.atomic_write import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LEAST_STEP = math.log(1.2)  # a smaller change of sales is called level
# Characters outside XML 1.0, on which vl-convert aborts its process: https://www.w3.org/TR/xml/#charsets
_OUTSIDE_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Queries by the name of their rows in ReportData.
_QUERIES = {
    "sales_over_time": "from data_products.ticket_sales_over_time order by festival_year, sale_month",
    "sales_by_venue": "from data_products.ticket_sales_by_venue order by venue_rank, festival_year",
    "band_sales": "from data_products.band_sales_by_venue order by venue_id, rank_in_venue",
    "candidates": "from data_products.all_star_candidates order by venue_rank, rank_in_venue",
    "verdicts": "from data_products.venue_verdicts order by venue_rank",
    "performances": "from data_products.performance_attendance where is_completed",
    "export_batches": "from publication.export_batches order by exported_at, batch_id",
    "audit_results": (
        "select *, case when passed then 'passed' when severity = 'WARN' then 'warning' else 'failed' end as outcome "
        "from publication.audit_results order by asset_key, check_name"
    ),
    "publications": "from publication.publications order by published_at desc",
    "summary": "from publication.summary",
    # First verdicts and ranks of venues, then those of bands.
    "changes": "from publication.changes order by change desc, rowid",
}
# Per verdict, with the number of venues and the form of "to have".
_HEADLINES = {
    "must invite": "{0} {1} a must-invite",
    "near-equals": "{0} {1} near-equals",
    "leads on one show": "{0} {1} a leader that played once",
    "no clear lead": "{0} {1} no clear lead",
}

ReportData = dict[str, pd.DataFrame]
"""The rows that the report shows, read from one published file; times in UTC."""

Answer = dict[str, Any]
"""The verdict on a top venue, as `venue_answers` returns it."""


class ReportDataError(RuntimeError):
    """The published file cannot be reported on; the message names the file and what to do."""


def report_on(published_file: Path, target: Path, time_zone: str) -> dict[str, str]:
    """Write the report on a published file to `target`, and return its pictures as `previews`.

    The page shows instants in UTC and in the time zone.

    Raises:
        ReportDataError: the file is missing or lacks a table or column.
    """
    data = read_report_data(published_file)
    answers = venue_answers(data)
    drawings = draw_charts(data, answers)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render_report(data, answers, drawings, time_zone))
    return previews(answers, drawings)


def read_report_data(published_file: Path) -> ReportData:
    """Read the data of the report, and replace characters that no chart can draw by U+FFFD.

    Raises:
        ReportDataError: the file is missing or lacks a table or column.
    """
    if not published_file.is_file():
        raise ReportDataError(f"{published_file} does not exist; materialize published_warehouse first.")
    try:
        with duckdb.connect(published_file, read_only=True) as warehouse:
            data = {name: warehouse.sql(query).df() for name, query in _QUERIES.items()}
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise ReportDataError(f"{published_file} is not complete, refresh it: {error}") from error
    if data["publications"].empty or data["summary"].empty:
        raise ReportDataError(f"{published_file} was never published; materialize published_warehouse first.")
    return {name: frame.replace(_OUTSIDE_XML, "\ufffd", regex=True) for name, frame in data.items()}


def venue_answers(data: ReportData) -> list[Answer]:
    """Return the verdict on each top venue with a completed performance, best venue first.

    An answer has the columns of `venue_verdicts` and `charts.venue_standings`. `candidates` are the rows of picture 3,
    `named` those of the bands that the verdict names, the likeliest first, or that are safe to invite without a clear
    lead, and `likelier` the names of bands outside the picture that are likelier in the top group than one in it.
    """
    answers = _records(data["verdicts"].merge(charts.venue_standings(data["sales_by_venue"])))
    for answer in answers:
        candidates, bands = (
            data[name][data[name].venue_rank == answer["venue_rank"]] for name in ("candidates", "band_sales")
        )
        # The order in which venue_verdicts names the bands.
        bands = bands.sort_values(["p_top_group", "p_best", "band_id"], ascending=[False, False, True])
        least = bands.p_top_group[bands.is_top_band].min()
        likelier = bands[~bands.is_top_band & (bands.p_top_group > least) & (bands.verdict != "reserve")]
        answer["candidates"] = _records(candidates)
        answer["named"] = _records(bands.head(answer["bands"]))
        answer["all_bands"] = len(bands)
        answer["likelier"] = list(likelier.band_name)
    return answers


def draw_charts(data: ReportData, answers: list[Answer]) -> dict[str, list[str]]:
    """Return the drawings of each chart for narrow to wide places, by the id of its element.

    Charts without data are left out.
    """
    over_time, by_venue = data["sales_over_time"], data["sales_by_venue"]
    widths = (NARROW, MEDIUM, WIDE)
    drawings = {}
    if len(over_time):
        drawings["sales-by-festival"] = [svg_of(charts.sales_by_festival_chart(over_time, width)) for width in widths]
        drawings["sales-by-month"] = [svg_of(charts.sales_by_month_chart(over_time, width)) for width in widths]
    if by_venue.total_performances.any():
        # The two stand side by side, so neither gets wide.
        drawings["sales-by-venue"] = [svg_of(charts.sales_by_venue_chart(by_venue, width)) for width in widths[:2]]
        drawings["venues-over-time"] = [svg_of(charts.venues_over_time_chart(by_venue, width)) for width in widths[:2]]
    for answer in answers:
        rank = answer["venue_rank"]
        drawings[f"bands-at-venue-{rank}"] = [svg_of(band_charts.band_sales_chart(data["band_sales"], rank))]
    return drawings


def previews(answers: list[Answer], drawings: dict[str, list[str]]) -> dict[str, str]:
    """Return the three pictures as SVG, by the name of the data product each is drawn from."""
    bands = {f"bands-at-venue-{row['venue_rank']}": f"{row['venue_rank']}. {row['venue_name']}" for row in answers}
    pictures = {
        "ticket_sales_over_time": {"sales-by-festival": "Tickets per festival"},
        "ticket_sales_by_venue": {"sales-by-venue": "Tickets per venue"},
        "band_sales_by_venue": bands,
    }
    return {
        name: picture_of({title: drawings[chart][-1] for chart, title in titles.items()})
        for name, titles in pictures.items()
        if titles and titles.keys() <= drawings.keys()
    }


def render_report(data: ReportData, answers: list[Answer], drawings: dict[str, list[str]], time_zone: str) -> str:
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
        percent=percent,
        change=lambda share: "" if share is None else percent(share, "+.0" if abs(share) >= 0.005 else "z.0"),
        instant=lambda moment: _instant(moment, time_zone),
        number_word=_number_word,
        chance=band_charts.chance_text,
    )
    behaviour = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        _figures(data, answers),
        answers=answers,
        drawings=drawings,
        venue_colour=venue_colour,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        light_colours=PAPER,
        dark_colours=DARK,
        behaviour=behaviour,
        script_digest="sha256-" + base64.b64encode(hashlib.sha256(behaviour.encode()).digest()).decode(),
    )


def headline(answers: list[Answer]) -> str:
    """Return the answer in two sentences: the share of the top venues, and what the records say about each."""
    if not answers:
        return "No completed performance has sold tickets to judge by yet."
    venues = "One venue" if len(answers) == 1 else f"{_number_word(len(answers)).capitalize()} venues"
    verdicts = [answer["verdict"] for answer in answers]
    alone = {1: "it", 2: "both"}.get(len(answers), f"all {_number_word(len(answers))}")
    parts = [
        text.format(alone if count == len(answers) else _number_word(count), "has" if count == 1 else "have")
        for verdict, text in _HEADLINES.items()
        if (count := verdicts.count(verdict))
    ]
    findings = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    return f"{venues} sold {percent(_share_of_tickets(answers))} of all tickets: {findings}."


def sales_finding(festivals: pd.DataFrame) -> str:
    """Return the largest step in the sales of completed festivals, from three to the next three.

    If every step is small, return the change from the first three to the last, because small steps add up. `festivals`
    is that of `charts.festival_totals`. With fewer than six completed festivals there is no finding.
    """
    festivals = festivals[festivals.is_completed].sort_values("festival_year")
    years, tickets = list(festivals.festival_year), list(festivals.tickets_sold)
    of_three = [max(1, sum(tickets[at : at + 3])) for at in range(len(years) - 2)]
    if len(of_three) < 4:
        return ""

    def size(step: tuple[int, int]) -> float:
        before, after = step
        return abs(math.log(of_three[after] / of_three[before]))

    step = max(((at, at + 3) for at in range(len(of_three) - 3)), key=size)
    if size(step) < _LEAST_STEP:
        step = (0, len(of_three) - 1)
    if size(step) < _LEAST_STEP:
        is_level = math.log(max(of_three) / min(of_three)) < _LEAST_STEP
        return f"about level from {years[0]} to {years[-1]}" if is_level else ""
    change = of_three[step[1]] / of_three[step[0]] - 1
    before, after = (f"{years[at]}-{years[at + 2]}" for at in step)
    return f"{'rose' if change > 0 else 'fell'} by {percent(abs(change))} from {before} to {after}"


def changes_by_venue(changes: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return the name of each venue with its changes since the publication before in words; new bands come last."""
    # Bands are new to the whole festival; the rows of other changes name a venue.
    is_new = changes.change == "new band"
    venues = changes[~is_new].groupby("venue_name")
    groups = [(str(venue), [_in_words(row) for row in _records(rows)]) for venue, rows in venues]
    return [*groups, ("New bands", list(changes.band_name[is_new]))] if is_new.any() else groups


def _in_words(change: dict[str, Any]) -> str:
    subject = f"{change['band_name']}: " if change["band_name"] else ""
    kind = change["change"].split()[1]
    before, after = (change[time] if change[time] is not None else f"no {kind}" for time in ("before", "after"))
    return f"{subject}{kind} {before}, now {after}" if change["before"] else f"{subject}new, {kind} {after}"


def _share_of_tickets(answers: list[Answer]) -> float:
    return sum(float(answer["share_of_tickets"]) for answer in answers)


def _figures(data: ReportData, answers: list[Answer]) -> dict[str, Any]:
    """Return what the template shows of the data."""
    venues = charts.venue_standings(data["sales_by_venue"])
    festivals = charts.festival_totals(data["sales_over_time"])
    # A festival on sale is not over, and a first one has none before it.
    change = festivals.tickets_sold.pct_change().where(festivals.is_completed)
    festivals = festivals.assign(change=change.replace(math.inf, math.nan))
    # A festival on sale may have begun, and its performances that have started count.
    counted = (
        data["performances"]
        .groupby("festival_year")
        .tickets_sold.agg(counted_performances="size", counted_tickets="sum")
    )
    festivals = festivals.join(counted, on="festival_year")
    years = [str(year) for year in counted.index]
    audit = data["audit_results"]
    return {
        "headline": headline(answers),
        "sales_finding": sales_finding(festivals),
        "share_of_top_venues": _share_of_tickets(answers),
        "venues": _records(venues) if venues.total_performances.any() else [],
        "festivals": _records(festivals),
        "festivals_on_sale": _records(festivals[~festivals.is_completed]),
        "totals": {
            "tickets": venues.total_tickets_sold.sum(),
            "revenue": venues.total_revenue.sum(),
            "performances": venues.total_performances.sum(),
            "bands": data["band_sales"].band_id.nunique(),
            "festivals": len(years),
        },
        "period": " to ".join(dict.fromkeys([*years[:1], *years[-1:]])) or "no festival yet",
        "unsold_performances": int((data["performances"].tickets_sold == 0).sum()),
        "export_batches": _records(data["export_batches"]),
        "audit_results": _records(audit),
        "warnings": _records(audit[audit.outcome != "passed"]),
        "checked_at": audit.checked_at.max(),
        "publication": data["publications"].iloc[0],
        "summary": _records(data["summary"])[0],
        "changes": changes_by_venue(data["changes"]),
        "named_verdicts": band_charts.NAMED_VERDICTS,
    }


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
