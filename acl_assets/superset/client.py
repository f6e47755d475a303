"""Client of Superset's REST API, whose errors name the request, the reason and what to do."""

import itertools
import json
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from acl_assets.settings import Settings, secret_text

LOCAL_URL = "http://127.0.0.1:8088"
OVER_TLS = {"X-Forwarded-Proto": "https"}
"""Header of a request that SUPERSET_HTTPS does not redirect. A proxy in between replaces it."""
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
_SECONDS_TO_CONNECT_AND_ANSWER = (10, 120)
# Superset gives no more rows of a list at once.
_PAGE_SIZE = 100
_ADVICE = {401: " Check ACL_SUPERSET_USER and ACL_SUPERSET_PASSWORD.", 403: " The user needs the role Admin."}


class SupersetError(RuntimeError):
    """Superset, or what it was to import, export or show, failed; the message names the reason and what to do."""


class SupersetClient:
    """A session with one Superset, signed in for the length of a `with` block.

    Parameters are sent as JSON, and a body as `requests` takes it, such as `json` or `files`. Every method raises
    SupersetError if Superset cannot be reached, refuses, or answers with another type of content: without a valid CSRF
    token it answers 200 with a page and does nothing.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url.rstrip("/")
        self.user = user
        self.password = password
        self._session = requests.Session()
        # To a proxy 127.0.0.1 is the proxy's own machine.
        self._proxies = {"no_proxy": "*"} if urlsplit(self.url).hostname in _THIS_MACHINE else {}
        # The server may close an idle connection just as a request is sent on it.
        self._session.headers.update({"Connection": "close", **OVER_TLS})

    def __enter__(self) -> Self:
        credentials = {"username": self.user, "password": self.password, "provider": "db"}
        token = self.post("/api/v1/security/login", json=credentials)["access_token"]

        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        # A function, because requests replaces a header by the entry of a .netrc file for this host.
        self._session.auth = authorize
        csrf_token = self.get("/api/v1/security/csrf_token/")["result"]
        # With SUPERSET_HTTPS the cookie that belongs to the token is secure: the session would not send it over HTTP.
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self._session.cookies)
        referer = self.url.replace("http:", "https:", 1)
        self._session.headers.update({"X-CSRFToken": csrf_token, "Referer": referer, "Cookie": cookies})
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Return the JSON answer to a GET request."""
        return self._json("GET", path, params=parameters)

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Return the JSON answer to a POST request."""
        return self._json("POST", path, **body)

    def put(self, path: str, **body: Any) -> dict[str, Any]:
        """Return the JSON answer to a PUT request."""
        return self._json("PUT", path, **body)

    def delete(self, path: str) -> dict[str, Any]:
        """Return the JSON answer to a DELETE request."""
        return self._json("DELETE", path)

    def download(self, path: str, **parameters: Any) -> bytes:
        """Return a ZIP file."""
        return self._request("GET", path, "application/zip", params=parameters).content

    def everything(self, path: str) -> list[dict[str, Any]]:
        """Return every entry of a list, such as `/api/v1/chart/`, in the order of their ids."""
        entries: list[dict[str, Any]] = []
        for page in itertools.count():
            answer = self.get(path, q={"page": page, "page_size": _PAGE_SIZE})
            entries += answer["result"]
            if not answer["result"] or len(entries) >= answer["count"]:
                break
        return sorted(entries, key=lambda entry: int(entry["id"]))

    def numbers(self, path: str) -> dict[str, int]:
        """Return the ids of the entries of a list by their uuids."""
        return {str(entry["uuid"]): int(entry["id"]) for entry in self.everything(path)}

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._request(method, path, "application/json", **options).json()
        return answer

    def _request(self, method: str, path: str, wanted: str, **options: Any) -> requests.Response:
        options["params"] = {name: json.dumps(value) for name, value in options.get("params", {}).items()}
        asked = f"{method} {self.url}{path}"
        try:
            response = self._session.request(
                method, self.url + path, proxies=self._proxies, timeout=_SECONDS_TO_CONNECT_AND_ANSWER, **options
            )
        except requests.RequestException as error:
            untrusted = isinstance(error, requests.exceptions.SSLError)
            trust = " Let REQUESTS_CA_BUNDLE name the authority of its certificate." if untrusted else ""
            raise SupersetError(
                f"{asked} got no answer ({type(error).__name__}). Start Superset (make superset), or correct "
                f"ACL_SUPERSET_URL.{trust}"
            ) from error
        if not response.ok:
            advice = _ADVICE.get(response.status_code, "")
            raise SupersetError(f"{asked} was refused with status {response.status_code}: {_reason(response)}{advice}")
        given = response.headers.get("Content-Type", "no type of content")
        if given.split(";")[0] != wanted:
            raise SupersetError(
                f"{asked} answered with {given} instead of {wanted}: nothing was done. Is {self.url} the address of a "
                f"Superset, and is {self.user} allowed to do this?"
            )
        return response


def superset_home(settings: Settings) -> Path:
    """Return the folder of the state of the Superset that `make superset` runs."""
    return settings.data_dir / "superset"


def password_file(settings: Settings) -> Path:
    """Return the file of the administrator's generated password."""
    return superset_home(settings) / "admin_password"


def superset_client(settings: Settings) -> SupersetClient:
    """Return a client for the Superset of the settings, by default the one that `make superset` runs."""
    password, file = secret_text(settings.superset_password), password_file(settings)
    if password is None and not file.exists():
        raise SupersetError(f"There is no password: set ACL_SUPERSET_PASSWORD, or let make superset make {file}.")
    return SupersetClient(
        settings.superset_url or LOCAL_URL, settings.superset_user, password or file.read_text().strip()
    )


def _reason(response: requests.Response) -> str:
    """Return the reason that Superset gives for a refusal; internal errors are in its log only."""
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        return "a page that gives no reason; it is in Superset's log."
    errors = answer.get("errors") or []
    details = [f"{error.get('message')} {json.dumps(error['extra']) if error.get('extra') else ''}" for error in errors]
    return " ".join(details).strip() or json.dumps(answer.get("message", answer))
