"""An address of the ticketing database is described without its secrets; one that may expose them is refused."""

import traceback

import pytest

from acl_assets.extraction.connection import SourceConnection, read_dsn
from acl_assets.extraction.extracted_batch import SourceUnusableError
from acl_assets.settings import Settings, SettingsError

# The password is xq7 and zj3 with a character between them that ends it too early, or none; no piece may be shown.
PIECES = ("xq7", "zj3")
WITHOUT_CERTAINTY = [
    "postgresql://me:xq7@zj3@127.0.0.1:1/ticketing",
    "postgresql://me:xq7/zj3@127.0.0.1:1/ticketing",
    "postgresql://me:x@xq7?sslmode=zj3@127.0.0.1:1/ticketing",
    "postgresql://me@127.0.0.1:xq7zj3/ticketing",
    "postgresql://me%3Axq7zj3@127.0.0.1:1/ticketing",
    "postgresql://127.0.0.1:1/ticketing?pasword=xq7zj3",
    "host=127.0.0.1 port=1 pass word=xq7zj3",
    "host=me:xq7zj3@127.0.0.1 port=1",
    "dbname=postgresql://me:xq7zj3@127.0.0.1:1/ticketing",
    "xq7zj3",
]
WITH_CERTAINTY = [
    ("postgresql://me%40server:xq7%40zj3@127.0.0.1:1/ticketing", "127.0.0.1:1/ticketing (user me@server)"),
    ("postgresql://127.0.0.1:1,[::1]:2/ticketing?user=me&password=xq7zj3", "127.0.0.1,::1:1,2/ticketing (user me)"),
    ("host=/nowhere dbname='the tickets' password='xq7 zj3'", "/nowhere/the tickets (user unnamed)"),
]


def shown_pieces(error: BaseException | None) -> list[str]:
    """The pieces of the password in an error, its traceback and the errors behind it, also those that are hidden."""
    if error is None:
        return []
    text = f"{error!r}" + "".join(traceback.format_exception(error))
    found = [piece for piece in PIECES if piece in text]
    return found + shown_pieces(error.__cause__) + shown_pieces(error.__context__)


@pytest.mark.parametrize("dsn", WITHOUT_CERTAINTY)
def test_an_address_whose_parts_may_hold_the_password_is_refused_without_quoting_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACL_TICKETING_DSN", dsn)
    with pytest.raises(
        SettingsError, match=r"^ACL_TICKETING_DSN cannot be used: it cannot be read.*%40 for @"
    ) as raised:
        Settings.from_environment()
    assert shown_pieces(raised.value) == []


@pytest.mark.parametrize(("dsn", "described"), WITH_CERTAINTY)
def test_neither_description_nor_driver_error_shows_the_password(dsn: str, described: str) -> None:
    assert read_dsn(dsn)[1] == described
    with pytest.raises(SourceUnusableError, match="No connection to") as raised:
        SourceConnection(dsn)
    assert shown_pieces(raised.value) == []


def test_an_address_keeps_what_it_says_and_gets_what_it_leaves_out() -> None:
    address, _ = read_dsn("postgresql://me@db/ticketing?sslmode=require&connect_timeout=3&client_encoding=latin1")
    expected = {"host=db", "sslmode=require", "connect_timeout=3", "client_encoding=UTF8", "tcp_user_timeout=60000"}
    assert expected <= set(address.split())
    assert read_dsn("dbname=ticketing")[1] == "the local socket/ticketing (user unnamed)"
