"""The page docs/benchmarks.md and its plots, made from results.

What belongs here: tables, sentences that follow from a figure, the plots. What does not: text that holds whatever was
measured (`page.md.jinja`), and figures from anywhere but the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import (
    CONTENDERS,
    DBT_BUILD,
    HAND_WRITTEN,
    HAND_WRITTEN_UNCHECKED,
    POSTGRES,
    POSTGRES_TUNED,
    REFRESH,
    REFRESH_2GB,
    SPARK,
)
from benchmarks.phases import PHASES
from benchmarks.results import (
    BatchesRun,
    Growth,
    Imports,
    IncrementRun,
    Quantity,
    Results,
    Spread,
    neighbours,
    shown_increments,
)

TEMPLATE = Path(__file__).with_name("page.md.jinja")
IMAGE = Path("images") / "benchmarks.svg"
GROWTH_IMAGE = Path("images") / "benchmarks_growth.svg"
_PAIRS = (
    (REFRESH, DBT_BUILD),
    (REFRESH, HAND_WRITTEN),
    (REFRESH, HAND_WRITTEN_UNCHECKED),
    (DBT_BUILD, HAND_WRITTEN),
    (HAND_WRITTEN, HAND_WRITTEN_UNCHECKED),
    (POSTGRES, REFRESH),
    (POSTGRES_TUNED, REFRESH),
    (REFRESH_2GB, REFRESH),
    (SPARK, REFRESH),
)
# Told apart by the colour-blind too (Okabe and Ito's palette).
_CONTENDER_COLOURS = dict(
    zip(
        CONTENDERS,
        ("#0072B2", "#56B4E9", "#CC79A7", "#E69F00", "#009E73", "#999999", "#D55E00", "#F0E442", "#000000"),
        strict=True,
    )
)
_PHASE_COLOURS = (
    *("#999999", "#56B4E9", "#F6D8A8", "#E69F00", "#D55E00", "#F0E442"),
    *("#C9A227", "#CC79A7", "#009E73", "#0072B2", "#444444"),
)


@dataclass(frozen=True)
class Goal:
    """A limit the project set itself, and what was measured against it: at most so much, or at least."""

    text: str
    limit: float
    measured: float
    unit: str
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Whether the limit is kept, in a word."""
        kept = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "kept" if kept else "missed"


@dataclass(frozen=True)
class Outlook:
    """What a larger festival would cost the refresh, from its two largest measured scales on.

    Attributes:
        scale: the larger one.
        tickets: millions of tickets there.
        minutes, memory_mb, disk_gb: what a refresh took there, and left on disk.
        seconds_per_million, disk_mb_per_million: what a million tickets more cost between the two.
        tickets_per_hour: millions of tickets that would take an hour at this pace, about; 0 where more cost no more.
    """

    scale: float
    tickets: float
    minutes: float
    memory_mb: float
    disk_gb: float
    seconds_per_million: float
    disk_mb_per_million: float
    tickets_per_hour: float


def write_page(
    tickets: Results | None,
    batches: Growth[BatchesRun] | None,
    increments: Growth[IncrementRun] | None,
    imports: Imports | None,
    docs_dir: Path,
) -> Path:
    """Write page and plots of the parts that have been measured below `docs_dir`, and return the page.

    Raises:
        ValueError: nothing has been measured.
    """
    parts = [part for part in (tickets, batches, increments, imports) if part]
    if not parts:
        raise ValueError("Nothing has been measured, so there is nothing to show.")
    plots = {docs_dir / IMAGE: draw(tickets)} if tickets else {}
    if batches or increments:
        plots[docs_dir / GROWTH_IMAGE] = draw_growth(batches, increments)
    return write_from_template(
        TEMPLATE,
        docs_dir / "benchmarks.md",
        plots,
        results=tickets,
        image=IMAGE.as_posix(),
        contender_tables=[(scale, _contender_rows(tickets, scale)) for scale in tickets.scales] if tickets else [],
        ratio_rows=list(_ratio_rows(tickets)) if tickets else [],
        goals=list(_goals(tickets, batches, increments, imports)),
        imports=imports,
        phase_rows=list(_phase_rows(tickets)) if tickets else [],
        slowest=list(_slowest(tickets)) if tickets else [],
        minutes=sum(run.wall_seconds for run in tickets.measurements) / 60 if tickets else 0,
        limited=_limited(tickets) if tickets else None,
        outlook=_outlook(tickets) if tickets else None,
        classic=[found for name in (POSTGRES, POSTGRES_TUNED) if (found := _compared(tickets, name))]
        if tickets
        else [],
        spark=_compared(tickets, SPARK) if tickets else None,
        batches=batches,
        batch_rows=[_batches_row(run) for run in batches.runs] if batches else [],
        increments=increments,
        increment_rows=list(_increment_rows(increments)) if increments else [],
        growth_image=GROWTH_IMAGE.as_posix(),
    )


def write_from_template(template: Path, page: Path, plots: Mapping[Path, Any], **contents: Any) -> Path:
    """Write a page from a Jinja template and its contents, and the Altair charts beside it; returns the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = environment.get_template(template.name).render(**contents)
    for image, chart in plots.items():
        image.parent.mkdir(parents=True, exist_ok=True)
        chart.save(str(image))
    page.write_text(text)
    return page


def _contender_rows(results: Results, scale: float) -> list[list[str]]:
    rows = []
    for contender in CONTENDERS:
        wall = results.spread(contender, scale, "wall_seconds")
        cpu = results.spread(contender, scale, "cpu_seconds")
        memory = results.spread(contender, scale, "peak_memory_bytes")
        written = results.spread(contender, scale, "written_bytes")
        output = results.spread(contender, scale, "output_bytes")
        ratio = results.ratio(contender, HAND_WRITTEN, scale)
        if wall and cpu and memory and written and output:
            sizes = (_megabytes(memory), _megabytes(written), _megabytes(output))
            row = [contender, spread_in_words(wall), f"{cpu.median:.1f}", *sizes]
            rows.append([*row, f"{ratio.median:.2f}" if ratio else ""])
    return rows


def _ratio_rows(results: Results) -> Iterator[list[str]]:
    for contender, to in _PAIRS:
        ratios = [results.ratio(contender, to, scale) for scale in results.scales]
        if any(ratios):
            yield [f"{contender} : {to}", *(spread_in_words(ratio, digits=2) if ratio else "" for ratio in ratios)]


def _goals(
    tickets: Results | None,
    batches: Growth[BatchesRun] | None,
    increments: Growth[IncrementRun] | None,
    imports: Imports | None,
) -> Iterator[Goal]:
    if tickets:
        yield from _ticket_goals(tickets)
    if imports:
        text = "import of the definitions, in CPU times of dagster's and dagster-dbt's"
        yield Goal(text, 1.3, round(imports.ratio, 2), "")
    if batches:
        most = batches.runs[-1]
        text = f"sensor tick over {most.batches:,} known batches, CPU"
        yield Goal(text, 0.2, round(_spread(most.tick_seconds).median, 3), " s")
    if increments and (ratio := last_to_tenth(increments)):
        applied = increments.runs[-1].applied
        yield Goal(f"refresh from increment {applied}, in CPU times of that from the tenth", 1.3, round(ratio, 2), "")


def _ticket_goals(results: Results) -> Iterator[Goal]:
    memory = results.spread(REFRESH, 1, "peak_memory_bytes")
    for contender, name, scale, limit in (
        (DBT_BUILD, "`dbt build`", 1, 2.0),
        (HAND_WRITTEN, "the hand-written script", 10, 1.4),
        (HAND_WRITTEN, "the hand-written script", 30, 1.25),
    ):
        if ratio := results.ratio(REFRESH, contender, scale):
            yield Goal(f"refresh at scale {scale}, in wall times of {name}", limit, round(ratio.median, 2), "")
    if memory:
        yield Goal("refresh at scale 1, peak memory", 600, round(memory.median / 1e6), " MB")
    for contender in (POSTGRES, POSTGRES_TUNED):
        if classic := results.ratio(contender, REFRESH, 1):
            text = f"warehouse in {contender}, at scale 1, in wall times of the refresh"
            yield Goal(text, 4, round(classic.median, 2), "", at_least=True)


def _limited(results: Results) -> dict[str, Any] | None:
    """What became of the refresh whose memory was limited, at the largest scale it ran at."""
    scale = max((run.scale for run in results.measurements if run.contender == REFRESH_2GB), default=None)
    wall = results.spread(REFRESH_2GB, scale, "wall_seconds") if scale else None
    memory = results.spread(REFRESH_2GB, scale, "peak_memory_bytes") if scale else None
    if scale is None or wall is None or memory is None:
        return None
    ratio = results.ratio(REFRESH_2GB, REFRESH, scale)
    return {"scale": scale, "wall": wall.median, "memory": memory.median / 1e6, "ratio": ratio and ratio.median}


def _compared(results: Results, contender: str) -> dict[str, Any] | None:
    """How many wall times of the refresh another contender took at the largest scale it ran at."""
    scale = max((run.scale for run in results.measurements if run.contender == contender), default=None)
    ratio = results.ratio(contender, REFRESH, scale) if scale else None
    return {"name": contender, "scale": scale, "ratio": ratio.median} if ratio else None


def _outlook(results: Results) -> Outlook | None:
    measured = [scale for scale in results.scales if results.of(REFRESH, scale)]
    if len(measured) < 2:
        return None
    smaller, larger = measured[-2:]
    tickets, seconds, disk = (
        (of(smaller), of(larger))
        for of in (
            lambda scale: results.batches[scale].tickets / 1e6,
            lambda scale: _median(results, scale, "wall_seconds"),
            lambda scale: _median(results, scale, "output_bytes"),
        )
    )
    more = tickets[1] - tickets[0]
    pace = (seconds[1] - seconds[0]) / more
    return Outlook(
        scale=larger,
        tickets=tickets[1],
        minutes=seconds[1] / 60,
        memory_mb=_median(results, larger, "peak_memory_bytes") / 1e6,
        disk_gb=disk[1] / 1e9,
        seconds_per_million=pace,
        disk_mb_per_million=(disk[1] - disk[0]) / more / 1e6,
        tickets_per_hour=float(f"{tickets[1] + (3600 - seconds[1]) / pace:.2g}") if pace > 0 else 0.0,
    )


def _median(results: Results, scale: float, quantity: Quantity) -> float:
    spread = results.spread(REFRESH, scale, quantity)
    return spread.median if spread else 0.0


def _spread(numbers: Sequence[float]) -> Spread:
    spread = Spread.of(numbers)
    if spread is None:
        raise ValueError("There are no numbers.")
    return spread


def _batches_row(run: BatchesRun) -> list[str]:
    known = _spread(run.tick_seconds)
    others = (run.landed_tick_seconds, run.first_tick_seconds, run.discovery_seconds)
    return [f"{run.batches:,}", spread_in_words(known, digits=3), *(f"{seconds:.3f}" for seconds in others)]


def last_to_tenth(increments: Growth[IncrementRun]) -> float | None:
    """CPU time of the last refresh in that of the tenth, each the median of those around it; None of too few.

    Too few they are also where measuring was interrupted, as those around the tenth are measured with the last.
    """
    tenth, last = _around(increments, 10), _around(increments, increments.runs[-1].applied)
    if not tenth or tenth[-1].applied >= last[0].applied:
        return None
    return _cpu_seconds(last) / _cpu_seconds(tenth)


def _around(increments: Growth[IncrementRun], shown: int) -> list[IncrementRun]:
    nearby = neighbours(shown, increments.runs[-1].applied)
    return sorted((run for run in increments.runs if run.applied in nearby), key=lambda run: run.applied)


def _cpu_seconds(runs: Sequence[IncrementRun]) -> float:
    return _spread([run.cpu_seconds for run in runs]).median


def _increment_rows(increments: Growth[IncrementRun]) -> Iterator[list[str]]:
    for shown in shown_increments(increments.runs[-1].applied):
        runs = _around(increments, shown)
        if not runs:
            continue
        wall, memory, source, published = (
            _spread(numbers).median
            for numbers in (
                [run.wall_seconds for run in runs],
                [run.peak_memory_bytes for run in runs],
                [run.source_table_bytes for run in runs],
                [run.published_bytes for run in runs],
            )
        )
        files = max(run.files_read for run in runs)
        sizes = (f"{memory / 1e6:,.0f}", f"{files}", f"{source / 1e6:,.1f}", f"{published / 1e6:,.1f}")
        yield [f"{shown}", f"{_cpu_seconds(runs):.1f}", f"{wall:.1f}", *sizes]


def _phase_rows(results: Results) -> Iterator[list[str]]:
    by_scale = [results.phases(REFRESH, scale) for scale in results.scales]
    for phase in PHASES:
        yield [phase, *(_share(phases, phase) for phases in by_scale)]
    yield ["**all**", *(f"**{sum(phases.values()):.1f} s**" if phases else "" for phases in by_scale)]


def _share(phases: dict[str, float], phase: str) -> str:
    return f"{phases[phase]:.1f} s, {phases[phase] / sum(phases.values()):.0%}" if phases else ""


def _slowest(results: Results) -> Iterator[tuple[float, Sequence[tuple[str, float]]]]:
    for scale in results.scales:
        runs = results.of(REFRESH, scale)
        if runs:
            yield scale, runs[-1].slowest_nodes


def spread_in_words(spread: Spread, digits: int = 1) -> str:
    """A median with the extremes behind it, when there is more than one number."""
    if spread.count == 1:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.lowest:.{digits}f} to {spread.highest:.{digits}f})"


def _megabytes(spread: Spread) -> str:
    return f"{spread.median / 1e6:,.0f}"


def draw(results: Results) -> Any:
    """Draw wall time and memory over size, and where the time of a refresh goes, as an Altair chart."""
    import altair as alt

    contenders = [name for name in CONTENDERS if any(run.contender == name for run in results.measurements)]
    runs = [
        {
            "contender": run.contender,
            "tickets": results.batches[run.scale].tickets / 1e6,
            "seconds": run.wall_seconds,
            "megabytes": run.peak_memory_bytes / 1e6,
        }
        for run in results.measurements
    ]
    colour = alt.Color(
        "contender:N",
        title=None,
        scale=alt.Scale(domain=contenders, range=[_CONTENDER_COLOURS[name] for name in contenders]),
        legend=alt.Legend(orient="bottom", columns=3),
    )
    size = alt.X("tickets:Q", title="million tickets", scale=alt.Scale(type="log", nice=False))
    base = alt.Chart(alt.Data(values=runs)).encode(x=size, color=colour)

    def over_size(quantity: str, title: str) -> Any:
        axis = alt.Y(f"{quantity}:Q", title=None, scale=alt.Scale(type="log"))
        middle = alt.Y(f"median({quantity}):Q", title=None, scale=alt.Scale(type="log"))
        layers = alt.layer(base.mark_line().encode(y=middle), base.mark_point(filled=True, size=30).encode(y=axis))
        return layers.properties(title=title, width=300, height=240)

    shares = [
        {
            "scale": f"scale {scale:g}",
            "phase": phase,
            "position": PHASES.index(phase),
            "share": seconds / sum(phases.values()),
        }
        for scale in results.scales
        for phases in [results.phases(REFRESH, scale)]
        for phase, seconds in phases.items()
    ]
    where = (
        alt.Chart(alt.Data(values=shares))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title=None, axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("scale:N", title=None, sort=None),
            color=alt.Color(
                "phase:N",
                title=None,
                scale=alt.Scale(domain=list(PHASES), range=list(_PHASE_COLOURS)),
                legend=alt.Legend(orient="bottom", columns=3),
            ),
            order=alt.Order("position:Q"),
        )
        .properties(title="where the wall time of a refresh goes", width=670, height=alt.Step(28))
    )
    sizes = alt.hconcat(over_size("seconds", "wall time, seconds"), over_size("megabytes", "peak memory, MB"))
    return (
        alt.vconcat(sizes, where)
        .resolve_scale(color="independent")
        .configure(background="white", padding=12, font="sans-serif")
        .configure_view(stroke=None)
    )


def draw_growth(batches: Growth[BatchesRun] | None, increments: Growth[IncrementRun] | None) -> Any:
    """Draw CPU time over batches in the landing zone, and over increments applied, as an Altair chart."""
    import altair as alt

    charts = []
    if increments:
        applied = [{"increments": run.applied, "seconds": run.cpu_seconds} for run in increments.runs]
        base = alt.Chart(alt.Data(values=applied)).encode(
            x=alt.X("increments:Q", title="increments applied before and with it"),
            y=alt.Y("seconds:Q", title=None),
        )
        charts.append(
            base.mark_point(filled=True, size=12, color="#0072B2").properties(
                title="CPU seconds of a refresh", width=300, height=240
            )
        )
    if batches:
        looks = [
            {"batches": run.batches, "what": what, "seconds": seconds}
            for run in batches.runs
            for what, seconds in (
                ("tick, nothing new", _spread(run.tick_seconds).median),
                ("tick, one landed", run.landed_tick_seconds),
                ("first tick", run.first_tick_seconds),
                ("discovery of a refresh", run.discovery_seconds),
            )
        ]
        charts.append(
            alt.Chart(alt.Data(values=looks))
            .mark_line(point=True)
            .encode(
                x=alt.X("batches:Q", title="batches in the landing zone", scale=alt.Scale(type="log", nice=False)),
                y=alt.Y("seconds:Q", title=None, scale=alt.Scale(type="log")),
                color=alt.Color(
                    "what:N",
                    title=None,
                    sort=None,
                    scale=alt.Scale(range=["#0072B2", "#56B4E9", "#999999", "#E69F00"]),
                    legend=alt.Legend(orient="bottom", columns=2),
                ),
            )
            .properties(title="CPU seconds of looking for batches", width=300, height=240)
        )
    return alt.hconcat(*charts).configure(background="white", padding=12, font="sans-serif").configure_view(stroke=None)
