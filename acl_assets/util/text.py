"""Text for people: from data, in a form that every log, store and terminal can take, and from log files."""

from pathlib import Path

_LOG_LINES_SHOWN = 15


def visible_text(text: str, limit: int = 200) -> str:
    """Cut a text to a length and escape characters that have no glyph."""
    return escaped_text(text if len(text) <= limit else f"{text[:limit]}…")


def escaped_text(text: str) -> str:
    r"""Write characters that have no glyph as escapes, such as \n, \x00 and \u202e."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def end_of_log(log_file: Path) -> str:
    """Return the last lines of a log file under a heading that names it."""
    lines = log_file.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
    return "\n".join([f"The end of {log_file}:", *lines])
