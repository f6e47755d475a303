"""Invent names of bands and people from the words in `names.json`, some of which break careless software."""

import json
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_WORDS: dict[str, list[str]] = json.loads(
    files("acl_assets.simulator").joinpath("names.json").read_text(encoding="utf-8")
)
HARD_BAND_NAMES = tuple(_WORDS["hard_bands"])


def invent_band_names(generator: np.random.Generator, count: int) -> list[str]:
    """Invent `count` different band names, none of them a hard one."""
    patterns = ("The {0} {1}", "{0} {1}", "{1} & the {0} {2} Band", "{0} {1} {2}", "{1} of the {0} {2}")
    adjectives, nouns = _WORDS["adjectives"], _WORDS["nouns"]
    used: dict[str, int] = {}
    names = []
    for pattern, *draw in generator.integers(0, 2**31, size=(count, 4)).tolist():
        words = (draw[0] % len(adjectives), draw[1] % len(nouns), draw[2] % len(nouns))
        name = patterns[pattern % 5].format(adjectives[words[0]], nouns[words[1]], nouns[words[2]])
        uses = used[name] = used.get(name, 0) + 1
        names.append(name if uses == 1 else f"{name} No. {uses}")
    return names


def invent_people_names(generator: np.random.Generator, count: int) -> pa.StringArray:
    """Invent `count` full names; some people share theirs, about one in 500 has a hard one."""
    names = pc.binary_join_element_wise(
        _take(_WORDS["first_names"], generator, count),
        _take([f"{letter}." for letter in "ABCDEFGHIJKLMNOPRSTW"], generator, count),
        _take(_WORDS["last_names"], generator, count),
        " ",
    )
    is_hard = pa.array(generator.random(count) < 1 / 500)
    return pc.if_else(is_hard, _take(_WORDS["hard_people"], generator, count), names)


def _take(words: list[str], generator: np.random.Generator, count: int) -> pa.StringArray:
    chosen: npt.NDArray[np.int64] = generator.integers(0, len(words), count)
    return pa.array(words).take(pa.array(chosen))
