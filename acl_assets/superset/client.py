"""Superset's REST API: signing in, asking, and an error that says what went wrong where.

What belongs here: how to talk to Superset. What does not: what is said (`bundle`, `verification`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from acl_assets.settings import Settings, secret_text
from acl_assets.superset.server import password_file

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

LOCAL_URL = "http://127.0.0.1:8088"
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_ANSWER = 120
# Superset gives no more rows of a list at once.
_PAGE_SIZE = 100


class SupersetError(RuntimeError):
    """Superset did not do what it was asked to; the message says what, where and what to do."""


class SupersetClient:
    """A signed-in session with one Superset; signed in by entering the block, left with it.

    Paths are those of Superset's REST API, such as `/api/v1/chart/`. Parameters that are lists or mappings are sent as
    JSON. Every method raises SupersetError where Superset cannot be reached, refuses, or answers with anything else
    than what was asked for: without a valid CSRF token, for one, it answers 200 with a page and does nothing.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self.password = password

    def __enter__(self) -> SupersetClient:
        import requests

        self._failure = requests.RequestException
        self._token = ""
        self._session = requests.Session()
        # As a function: a header alone would be replaced by what a .netrc file says of this host.
        self._session.auth = self._authorized
        # A proxy's own 127.0.0.1 is another machine.
        self._proxies = {"no_proxy": "*"} if urlsplit(self.url).hostname in _THIS_MACHINE else None
        try:
            credentials = {"username": self.user, "password": self.password, "provider": "db"}
            self._token = self.post("/api/v1/security/login", json=credentials)["access_token"]
            # Superset checks it against the session cookie that comes with it.
            self._session.headers["X-CSRFToken"] = self.get("/api/v1/security/csrf_token/")["result"]
            self._session.headers["Referer"] = self.url
        except BaseException:
            self._session.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a GET request."""
        return self._parsed(self._request("GET", path, params=parameters))

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a POST request, whose body is what `requests` takes as `json`, `data` and `files`."""
        return self._parsed(self._request("POST", path, **body))

    def put(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a PUT request, whose body is what `requests` takes as `json`, `data` and `files`."""
        return self._parsed(self._request("PUT", path, **body))

    def delete(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a DELETE request."""
        return self._parsed(self._request("DELETE", path, params=parameters))

    def download(self, path: str, **parameters: Any) -> bytes:
        """The content of a file."""
        response = self._request("GET", path, params=parameters)
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise self._not_what_was_asked(response, "a file")
        return response.content

    def everything(self, path: str) -> Iterator[dict[str, Any]]:
        """Every entry of a list, such as `/api/v1/chart/`, in the order of their ids."""
        entries: list[dict[str, Any]] = []
        page = 0
        while found := self.get(path, q={"page": page, "page_size": _PAGE_SIZE})["result"]:
            entries += found
            page += 1
        yield from sorted(entries, key=lambda entry: int(entry["id"]))

    def _authorized(self, request: PreparedRequest) -> PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _request(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, **body: Any) -> Response:
        sent = {name: _as_text(value) for name, value in (params or {}).items()}
        try:
            response = self._session.request(
                method,
                self.url + path,
                params=sent,
                timeout=(_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER),
                proxies=self._proxies,
                **body,
            )
        except self._failure as error:
            raise SupersetError(
                f"{method} {self.url}{path} got no answer ({type(error).__name__}). Start Superset (make superset), or "
                "mend ACL_SUPERSET_URL."
            ) from error
        if not response.ok:
            raise SupersetError(
                f"{method} {self.url}{path} was refused with status {response.status_code}: {_reason(response)}"
                + _advice(response.status_code)
            )
        return response

    def _parsed(self, response: Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._not_what_was_asked(response, "JSON")
        return answer

    def _not_what_was_asked(self, response: Response, wanted: str) -> SupersetError:
        # Who is not signed in is sent on to the page to sign in on.
        asked = (response.history or [response])[0].request
        kind = response.headers.get("Content-Type", "nothing that says what it is")
        return SupersetError(
            f"{asked.method} {asked.url} answered with {kind} instead of {wanted}: nothing was done. Is "
            f"{self.url} the address of a Superset, and is {self.user} allowed to do this?"
        )


def superset_client(settings: Settings) -> SupersetClient:
    """The session of the settings' user with their Superset; that of `make superset` where they name none.

    Raises:
        SupersetError: there is no password to sign in with.
    """
    password = secret_text(settings.superset_password)
    if password is None:
        file = password_file(settings)
        if not file.exists():
            raise SupersetError(f"There is no password: set ACL_SUPERSET_PASSWORD, or let make superset make {file}.")
        password = file.read_text().strip()
    return SupersetClient(settings.superset_url or LOCAL_URL, settings.superset_user, password)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _reason(response: Response) -> str:
    """What Superset says of a refusal; what broke in it, it says in its log alone."""
    try:
        answer = response.json()
    except ValueError:
        return "a page that gives no reason; it is in Superset's log."
    if not isinstance(answer, dict):
        return response.text[:300]
    errors = answer.get("errors") or []
    details = [f"{error.get('message')} {json.dumps(error['extra']) if error.get('extra') else ''}" for error in errors]
    return " ".join(details).strip() or json.dumps(answer.get("message", answer))


def _advice(status: int) -> str:
    if status == 401:
        return " Check ACL_SUPERSET_USER and ACL_SUPERSET_PASSWORD."
    if status == 403:
        return " The user needs the role Admin."
    return ""
