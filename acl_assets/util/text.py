"""Text from data as people can read it and every log, store and terminal can take it."""

from __future__ import annotations

MAX_TEXT_LENGTH = 200


def visible_text(text: str) -> str:
    r"""Cut a text to 200 characters and write those that have no glyph as escapes, such as \n, \x00 and \u202e."""
    cut = text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in cut
    )
