"""Invent names of bands and people, among them names that break careless software."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

HARD_BAND_NAMES = (
    "NULL",
    "'68",
    "!!!",
    "None",
    "N/A",
    "nan",
    "true",
    "007",
    "1e5",
    "0x1F",
    "1,000 Lanterns",
    "-",
    r"\N",
    r"Back\slash \"and\" Sons",
    "Salt, Pepper, and the Gravel",
    'The "Quiet" Kettles',
    '"Quoted"',
    '"',
    "O'Dell's Own 'Orchard'",
    "Los Güeros del Año",
    "Žluťoučký Kůň",
    "Cafe\u0301 Sombrio",
    "Ærø Ølhund",
    "夜の灯台",
    "Полночный Трамвай",
    "فرقة النخيل",
    "להקת הירח",
    "🌵 Prickly Pairs 🎸",
    " Leading Space",
    "Trailing Space ",
    "Two  Spaces",
    "=SUM(A1:A9)",
    "<b>Bold</b> & Sons",
    "{{ curly }} Brothers",
    "100% Hail; --",
    "A Band Whose Name Goes On and On Like a Long Straight Road Through Flat Country After Dark, Part 2",
)

PEOPLE_WITH_HARD_NAMES = (
    "Hollis Grantham, Jr.",
    'Maren "Mo" Okonjo-Bright',
    "Siobhán O'Farrelly",
    "Zoë d'Aubrécourt",
    "Ngũgĩ Wambarua",
    "Łucja Źrebięcka",
    "三島 ことは",
    "Ольга Подлесная",
    "NULL",
    "X",
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words(
    "Amber Brittle Bronze Cedar Chalk Copper Corduroy Crooked Dapper Drowsy Dusty Earnest Feral Flannel Folding Gentle "
    "Gilded Gravel Hollow Idle Indigo Jagged Juniper Lanky Lopsided Lunar Marbled Mellow Mossy Muddy Nimble Oblong"
)
_NOUNS = _words(
    "Acorn Anvil Armadillo Badger Ballroom Bandana Barge Bonfire Bucket Cactus Cannery Carousel Chimney Clover Compass "
    "Coyote Creek Daybed Dispatch Dovecote Engine Fiddler Firefly Foghorn Galoshes Grackle Harbor Heron Hinge Icehouse"
)
_FIRST_NAMES = _words(
    "Ada Alba Amos Anouk Asa Beatriz Bo Callum Carmen Cyrus Dalia Dex Dolores Edda Eli Esme Farid Fern Gideon Greta "
    "Hana Hugo Ines Ivo Jonas Juno Kai Kavita Lazlo Lena Luz Mabel Mateo Mei Nadia Nils Odessa Omar Opal Oskar Pilar"
)
_LAST_NAMES = _words(
    "Abernall Adeyoma Alvarado Anstruth Baptista Barrowby Bellweather Birchmoor Brandvold Calloway Castellan Chandra "
    "Corrigan Cutler Dahlgren Delacroix Dombrowski Eastlake Eberhart Escobedo Fairbairn Fenwick Fontaine Galbraith "
    "Goldsmith Grimaldi Hallorann Hargrove Hawksley Ibarra Ingram Iwasaki Jessup Johansen Kaplan Kettering Kowalczyk"
)


def invent_band_names(generator: np.random.Generator, count: int) -> list[str]:
    """Invent `count` different band names, none of them a hard one."""
    patterns = ("The {0} {1}", "{0} {1}", "{1} & the {0} {2} Band", "{0} {1} {2}", "{1} of the {0} {2}")
    used: dict[str, int] = {}
    names = []
    for pattern, *draw in generator.integers(0, 2**31, size=(count, 4)).tolist():
        words = (draw[0] % len(_ADJECTIVES), draw[1] % len(_NOUNS), draw[2] % len(_NOUNS))
        name = patterns[pattern % 5].format(_ADJECTIVES[words[0]], _NOUNS[words[1]], _NOUNS[words[2]])
        uses = used[name] = used.get(name, 0) + 1
        names.append(name if uses == 1 else f"{name} No. {uses}")
    return names


def invent_people_names(generator: np.random.Generator, count: int) -> pa.StringArray:
    """Invent `count` full names; some people share theirs, about one in 500 has a hard one."""
    names = pc.binary_join_element_wise(
        _take(_FIRST_NAMES, generator, count),
        _take([f"{letter}." for letter in "ABCDEFGHIJKLMNOPRSTW"], generator, count),
        _take(_LAST_NAMES, generator, count),
        " ",
    )
    is_hard = pa.array(generator.random(count) < 1 / 500)
    return pc.if_else(is_hard, _take(PEOPLE_WITH_HARD_NAMES, generator, count), names)


def _take(words: list[str] | tuple[str, ...], generator: np.random.Generator, count: int) -> pa.StringArray:
    chosen: npt.NDArray[np.int64] = generator.integers(0, len(words), count)
    return pa.array(words).take(pa.array(chosen))
