"""Configuration of Superset, which reads it at its start.

Variables: `SUPERSET_HOME`, the folder of its state; `SUPERSET_SECRET_KEY`, else the file `secret_key` in that
folder; `SUPERSET__SQLALCHEMY_DATABASE_URI`, else SQLite in that folder; `SUPERSET_REDIS_URL`, else what needs a
cache is kept in the metadata, and each process counts for itself how often somebody signs in; `SUPERSET_HTTPS=1`
behind a proxy that encrypts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import warehouse_connections
from viewer_security import ViewerSecurityManager
from warehouse_connections import one_configuration, validate_uri

_HOME = Path(os.environ["SUPERSET_HOME"])
_BEHIND_HTTPS = os.environ.get("SUPERSET_HTTPS") == "1"
_REDIS_URL = os.environ.get("SUPERSET_REDIS_URL")

# Secrets and sessions ---------------------------------------------------------------------------------------------

SECRET_KEY = os.environ.get("SUPERSET_SECRET_KEY") or (_HOME / "secret_key").read_text().strip()
WTF_CSRF_ENABLED = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# Browsers do not send a secure cookie over HTTP, and nobody could sign in.
SESSION_COOKIE_SECURE = _BEHIND_HTTPS
ENABLE_PROXY_FIX = _BEHIND_HTTPS
RATELIMIT_ENABLED = True
# Signing in with the form is limited, for each address; a dashboard may ask for all its charts at once.
RATELIMIT_APPLICATION = None
AUTH_RATE_LIMIT = "20 per minute"
RATELIMIT_STORAGE_URI = _REDIS_URL or "memory://"


def FLASK_APP_MUTATOR(app: Any) -> None:  # noqa: N802 # Superset calls it by this name
    """Complete the application with what Superset has no setting for."""
    _limit_sign_in(app)
    _wrap_bar_labels(app)


def _current_user() -> object:
    """Return the id of the user whose request this thread answers, or None outside a request."""
    from flask import g, has_request_context

    return getattr(g.user, "id", None) if has_request_context() and hasattr(g, "user") else None


def _limit_sign_in(app: Any) -> None:
    """Limit sign-in by the form and by the API. Superset 6.1 limits only the page that shows the form.

    The API counts refused attempts only, because programs sign in for every session.
    """
    manager = app.appbuilder.sm
    manager.limiter.limit(AUTH_RATE_LIMIT, methods=["POST"])(manager.auth_view.blueprint)
    sign_in = app.view_functions["SecurityApi.login"]
    limited = manager.limiter.limit(AUTH_RATE_LIMIT, deduct_when=lambda response: response.status_code != 200)
    app.view_functions["SecurityApi.login"] = limited(sign_in)


def _wrap_bar_labels(app: Any) -> None:
    """Wrap the labels beside bars, in lines of a fixed height.

    A chart's own "EChart options" refuse width, overflow and lineHeight. Without a fixed height ECharts derives it from
    the fonts of the reader's machine, and without the font family it reserves too little space for the labels.
    """
    theme = app.config["THEME_DEFAULT"]
    label = {"width": 140, "overflow": "break", "lineHeight": 15, "fontFamily": theme["token"]["fontFamily"]}
    bars = {"yAxis": {"axisLabel": label}}
    app.config["THEME_DEFAULT"] = theme | {"echartsOptionsOverridesByChartType": {"echarts_timeseries_bar": bars}}


# Pages load only what this server sends: no telemetry, maps or fonts from elsewhere ---------------------------------

TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "default-src": ["'self'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        # Superset's components style themselves while they are drawn.
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'", "data:"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": _BEHIND_HTTPS,
    "session_cookie_secure": _BEHIND_HTTPS,
    "referrer_policy": "same-origin",
}
ENABLE_CORS = False
THEME_FONT_URL_ALLOWED_DOMAINS: list[str] = []
# Its page is loaded from elsewhere, which the policy above forbids.
FAB_API_SWAGGER_UI = False

# Metadata and caches ----------------------------------------------------------------------------------------------

# Several requests write at the same time; SQLite lets the later ones wait.
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HOME / 'metadata.db'}?check_same_thread=false&timeout=30"
SQLALCHEMY_EXAMPLES_URI = SQLALCHEMY_DATABASE_URI

if _REDIS_URL:
    _REDIS = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": _REDIS_URL}
    CACHE_CONFIG = {**_REDIS, "CACHE_KEY_PREFIX": "acl_superset_", "CACHE_DEFAULT_TIMEOUT": 24 * 60 * 60}
    FILTER_STATE_CACHE_CONFIG = {**_REDIS, "CACHE_KEY_PREFIX": "acl_filter_", "CACHE_DEFAULT_TIMEOUT": 90 * 24 * 3600}
    EXPLORE_FORM_DATA_CACHE_CONFIG = {**_REDIS, "CACHE_KEY_PREFIX": "acl_form_", "CACHE_DEFAULT_TIMEOUT": 7 * 24 * 3600}

# What people may read, and how much of it -------------------------------------------------------------------------

CUSTOM_SECURITY_MANAGER = ViewerSecurityManager
DB_SQLA_URI_VALIDATOR = validate_uri
DB_CONNECTION_MUTATOR = one_configuration
# No DATA_CACHE_CONFIG: results are never cached, the next query after a refresh shows what was published. The data
# products are small enough to be asked every time.
ROW_LIMIT = 10_000
SQL_MAX_ROW = 10_000
DISPLAY_MAX_ROW = 10_000
DEFAULT_SQLLAB_LIMIT = 1_000
QUERY_SECONDS = 30
SQLLAB_TIMEOUT = QUERY_SECONDS
SUPERSET_WEBSERVER_TIMEOUT = 2 * QUERY_SECONDS
warehouse_connections.listen(QUERY_SECONDS, _current_user)
# SQL Lab answers at once: there are no workers in the background, and no place for their results.
CELERY_CONFIG = None
RESULTS_BACKEND = None

# Appearance -------------------------------------------------------------------------------------------------------

# The dashboard's colours are made for a light ground.
THEME_DARK = None
SUPERSET_LOG_VIEW = True
