"""The page docs/benchmarks.md and its plot, made from results.

What belongs here: tables, sentences that follow from a figure, the plot. What does not: text that holds whatever was
measured (`page.md.jinja`), and figures from anywhere but the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, DBT_BUILD, HAND_WRITTEN, HAND_WRITTEN_UNCHECKED, REFRESH
from benchmarks.phases import PHASES
from benchmarks.results import Results, Spread

TEMPLATE = Path(__file__).with_name("page.md.jinja")
IMAGE = Path("images") / "benchmarks.svg"
_PAIRS = (
    (REFRESH, DBT_BUILD),
    (REFRESH, HAND_WRITTEN),
    (REFRESH, HAND_WRITTEN_UNCHECKED),
    (DBT_BUILD, HAND_WRITTEN),
    (HAND_WRITTEN, HAND_WRITTEN_UNCHECKED),
)
# Told apart by the colour-blind too (Okabe and Ito's palette).
_CONTENDER_COLOURS = dict(zip(CONTENDERS, ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#999999"), strict=True))
_PHASE_COLOURS = (
    *("#999999", "#56B4E9", "#F6D8A8", "#E69F00", "#D55E00", "#F0E442"),
    *("#C9A227", "#CC79A7", "#009E73", "#0072B2", "#444444"),
)


@dataclass(frozen=True)
class Goal:
    """A limit the project set itself, and what was measured against it."""

    text: str
    limit: float
    measured: float
    unit: str

    @property
    def verdict(self) -> str:
        """Whether the limit is kept, in a word."""
        return "kept" if self.measured <= self.limit else "missed"


def write_page(results: Results, docs_dir: Path) -> Path:
    """Write page and plot below `docs_dir`, and return the page."""
    return write_from_template(
        TEMPLATE,
        docs_dir / "benchmarks.md",
        {docs_dir / IMAGE: draw(results)},
        results=results,
        image=IMAGE.as_posix(),
        contender_tables=[(scale, _contender_rows(results, scale)) for scale in results.scales],
        ratio_rows=list(_ratio_rows(results)),
        goals=list(_goals(results)),
        phase_rows=list(_phase_rows(results)),
        slowest=list(_slowest(results)),
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
        output = results.spread(contender, scale, "output_bytes")
        if wall and cpu and memory and output:
            rows.append([contender, spread_in_words(wall), f"{cpu.median:.1f}", _megabytes(memory), _megabytes(output)])
    return rows


def _ratio_rows(results: Results) -> Iterator[list[str]]:
    for contender, to in _PAIRS:
        ratios = [results.ratio(contender, to, scale) for scale in results.scales]
        if any(ratios):
            yield [f"{contender} : {to}", *(spread_in_words(ratio, digits=2) if ratio else "" for ratio in ratios)]


def _goals(results: Results) -> Iterator[Goal]:
    to_dbt = results.ratio(REFRESH, DBT_BUILD, 1)
    memory = results.spread(REFRESH, 1, "peak_memory_bytes")
    to_hand_written = results.ratio(REFRESH, HAND_WRITTEN, 10)
    if to_dbt:
        yield Goal("refresh at scale 1, in wall times of `dbt build`", 2.5, round(to_dbt.median, 2), "")
    if memory:
        yield Goal("refresh at scale 1, peak memory", 600, round(memory.median / 1e6), " MB")
    if to_hand_written:
        yield Goal(
            "refresh at scale 10, in wall times of the hand-written script", 1.8, round(to_hand_written.median, 2), ""
        )


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
