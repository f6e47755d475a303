"""Invented names of bands, stages and people, among them those that break careless software.

What belongs here: word lists and how names are put together from them. What does not: who plays where, or who
buys what (`sales`). No name is taken from a real artist on purpose; any likeness is chance.
"""

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
    "Amber Brittle Bronze Cedar Chalk Copper Corduroy Crooked Dapper Drowsy Dusty Earnest Feral Flannel "
    "Folding Gentle Gilded Gravel Hollow Idle Indigo Jagged Juniper Lanky Lopsided Lunar Marbled Mellow "
    "Mossy Muddy Nimble Oblong Paper Patient Pewter Plaid Polite Quilted Rambling Rusty Sable Salted "
    "Scarlet Silent Sleepy Spotted Sturdy Tangled Tidal Tin Umber Velour Wandering Wobbly Woolen"
)
_NOUNS = _words(
    "Acorn Anvil Armadillo Badger Ballroom Bandana Barge Bonfire Bucket Cactus Cannery Carousel Chimney "
    "Clover Compass Coyote Creek Daybed Dispatch Dovecote Engine Fiddler Firefly Foghorn Galoshes Grackle "
    "Harbor Heron Hinge Icehouse Jackrabbit Kettle Ladder Lampshade Lighthouse Magnolia Mailbox Mesquite "
    "Mitten Mockingbird Orchard Paddle Parlor Peddler Pelican Pinwheel Postcard Quarry Railcar Saddle "
    "Satellite Sawmill Snowdrift Teacup Thicket Thimble Toboggan Tractor Turnpike Umbrella Wagon Waltz "
    "Windmill Yardbird"
)
_FIRST_NAMES = _words(
    "Ada Alba Amos Anouk Asa Beatriz Bo Callum Carmen Cyrus Dalia Dex Dolores Edda Eli Esme Farid Fern "
    "Gideon Greta Hana Hugo Ines Ivo Jonas Juno Kai Kavita Lazlo Lena Luz Mabel Mateo Mei Nadia Nils "
    "Odessa Omar Opal Oskar Pilar Priya Quinn Rafael Rosa Roy Sadie Selma Silas Soren Tamsin Tao Tess Ugo "
    "Vera Viktor Willa Ximena Yara Zeke"
)
_LAST_NAMES = _words(
    "Abernall Adeyoma Alvarado Anstruth Baptista Barrowby Bellweather Birchmoor Brandvold Calloway "
    "Castellan Chandra Corrigan Cutler Dahlgren Delacroix Dombrowski Eastlake Eberhart Escobedo Fairbairn "
    "Fenwick Fontaine Galbraith Goldsmith Grimaldi Hallorann Hargrove Hawksley Ibarra Ingram Iwasaki "
    "Jessup Johansen Kaplan Kettering Kowalczyk Lindqvist Lockhart Lozano Macready Marchetti Mbeki "
    "Montrose Nakagawa Navarro Nightingale Oduya Okafor Ostrander Pemberton Pettibone Quintero Ramaswamy "
    "Redfern Rosenthal Sandoval Sedgwick Stavros Takahashi Tillman Underhill Valdez Vandermeer Villanueva "
    "Wainwright Whitlock Xiong Yamamoto Yoder Zamora Zielinski"
)


def invent_band_names(generator: np.random.Generator, count: int) -> list[str]:
    """Invent `count` different band names, none of them a hard one."""
    draws = generator.integers(0, 2**31, size=(count, 4)).tolist()
    used: dict[str, int] = {}
    names = []
    for pattern, *draw in draws:
        name = _band_name(pattern % 6, draw)
        uses = used[name] = used.get(name, 0) + 1
        names.append(name if uses == 1 else f"{name} No. {uses}")
    return names


def _band_name(pattern: int, draw: list[int]) -> str:
    adjective = _ADJECTIVES[draw[0] % len(_ADJECTIVES)]
    noun, other_noun = _NOUNS[draw[1] % len(_NOUNS)], _NOUNS[draw[2] % len(_NOUNS)]
    match pattern:
        case 0:
            return f"The {adjective} {noun}"
        case 1:
            return f"{adjective} {noun}"
        case 2:
            return f"{noun} & the {adjective} {other_noun} Band"
        case 3:
            return f"{adjective} {noun} {other_noun}"
        case 4:
            return f"{noun} of the {adjective} {other_noun}"
        case _:
            first_name = _FIRST_NAMES[draw[0] % len(_FIRST_NAMES)]
            last_name = _LAST_NAMES[draw[1] % len(_LAST_NAMES)]
            return f"{first_name} {last_name} and the {adjective} {other_noun}"


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
