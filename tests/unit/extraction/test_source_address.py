"""An address of the ticketing database is described without its secrets; one that may expose them is refused."""

from __future__ import annotations

import logging
import traceback

import pytest

from acl_assets.extraction.connection import SourceConnection, connection_info, describe_dsn, server_message
from acl_assets.extraction.extract import extract
from acl_assets.extraction.extracted_batch import ExtractionError, SourceUnusableError
from acl_assets.settings import Settings

# The password is xq7 and zj3 with a character between them that ends it too early, or none; no piece may be shown.
PIECES = ("xq7", "zj3")
WITHOUT_CERTAINTY = [
    "postgresql://me:xq7@zj3@127.0.0.1:1/ticketing",
    "postgresql://me:xq7/zj3@127.0.0.1:1/ticketing",
    "postgresql://me:x@xq7/zj3@127.0.0.1:1/ticketing",
    "postgresql://me:x@xq7?sslmode=zj3@127.0.0.1:1/ticketing",
    "postgresql://me@127.0.0.1:xq7zj3/ticketing",
    "postgresql://me%3Axq7zj3@127.0.0.1:1/ticketing",
    "postgresql://127.0.0.1:1/ticketing?pasword=xq7zj3",
    "me:xq7zj3@127.0.0.1:1/ticketing",
    "host=127.0.0.1 port=1 pass word=xq7zj3",
    "host=127.0.0.1 port=xq7zj3 user=me",
    "host=me:xq7zj3@127.0.0.1 port=1",
    "dbname=postgresql://me:xq7zj3@127.0.0.1:1/ticketing",
    "xq7zj3",
]
WITH_CERTAINTY = [
    ("postgresql://me:xq7%40zj3@127.0.0.1:1/ticketing", "127.0.0.1:1/ticketing (user me)"),
    ("postgresql://me%40server:xq7zj3@127.0.0.1:1/ticketing", "127.0.0.1:1/ticketing (user me@server)"),
    ("postgresql://127.0.0.1:1,[::1]:2/ticketing?user=me&password=xq7zj3", "127.0.0.1,::1:1,2/ticketing (user me)"),
    ("postgresql://me@127.0.0.1:1/ticketing?sslmode=xq7zj3", "127.0.0.1:1/ticketing (user me)"),
    ("postgresql://%2Fnowhere/ticketing?user=me&password=xq7zj3", "/nowhere/ticketing (user me)"),
    ("host=127.0.0.1 port=1 dbname=ticketing user=me password=xq7zj3", "127.0.0.1:1/ticketing (user me)"),
    ("host=127.0.0.1 port=1 dbname='the tickets' password='xq7 zj3'", "127.0.0.1:1/the tickets (user unnamed)"),
]


def shown_pieces(error: BaseException | None) -> list[str]:
    """The pieces of the password in an error, its traceback and the errors behind it, also those that are hidden."""
    if error is None:
        return []
    text = f"{error!r}" + "".join(traceback.format_exception(error))
    found = [piece for piece in PIECES if piece in text]
    return found + shown_pieces(error.__cause__) + shown_pieces(error.__context__)


@pytest.mark.parametrize("dsn", WITHOUT_CERTAINTY)
def test_an_address_whose_parts_may_hold_the_password_is_refused_without_quoting_it(dsn: str) -> None:
    for act in (describe_dsn, connection_info, SourceConnection):
        with pytest.raises(SourceUnusableError, match="or ACL_TICKETING_STANDBY_DSN cannot be read: it") as raised:
            act(dsn)
        assert "%40 for @" in str(raised.value)
        assert shown_pieces(raised.value) == []


@pytest.mark.parametrize(("dsn", "described"), WITH_CERTAINTY)
def test_neither_description_nor_driver_error_shows_the_password(dsn: str, described: str) -> None:
    assert describe_dsn(dsn) == described
    with pytest.raises(SourceUnusableError, match="No connection to") as raised:
        SourceConnection(dsn)
    assert [piece for piece in PIECES if piece in "".join(traceback.format_exception(raised.value))] == []


def test_the_standby_s_address_is_not_shown_when_the_primary_is_read_instead(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "acl_assets.extraction")
    standby = "postgresql://me@127.0.0.1:xq7zj3/ticketing"
    with pytest.raises(ExtractionError) as raised:
        extract(settings.with_changes(ticketing_dsn=WITHOUT_CERTAINTY[0], ticketing_standby_dsn=standby))
    assert "Extracting from the primary instead of the standby" in caplog.text
    assert [piece for piece in PIECES if piece in caplog.text] + shown_pieces(raised.value) == []


def test_an_address_keeps_what_it_says_and_gets_what_it_leaves_out() -> None:
    info = connection_info("postgresql://me@db/ticketing?sslmode=require&connect_timeout=3&client_encoding=latin1")
    assert {"host=db", "user=me", "dbname=ticketing", "sslmode=require", "connect_timeout=3"} <= set(info.split())
    assert "client_encoding=UTF8" in info
    assert "keepalives_idle=30" in info
    assert describe_dsn("dbname=ticketing") == "the local socket/ticketing (user unnamed)"


def test_what_the_server_says_is_told_on_one_line_without_secrets() -> None:
    text = (
        'NOT_FOUND: [libpq] Failed: ERROR:  relation "x" does not exist\nLINE 1: select * from x\n'
        "                      ^\n\nQuery was: select * from x. SQLSTATE: 42P01"
    )
    assert server_message(text, "host=db") == 'relation "x" does not exist'
    dsn = "host=db password=geheim sslpassword=wort"
    assert server_message("FATAL:  no entry for geheim\nDETAIL:  wort\n", dsn) == "no entry for ***; DETAIL:  ***"
