"""Configure Superset, which reads this module when it starts.

Environment variables:
    SUPERSET_HOME: folder of Superset's state.
    SUPERSET_SECRET_KEY: secret key; by default the content of the file `secret_key` in that folder.
    SUPERSET__SQLALCHEMY_DATABASE_URI: database of the metadata; by default SQLite in that folder.
    SUPERSET_REDIS_URL: Redis for caches and rate limits. By default the metadata holds the caches, and each process
        counts sign-ins separately.
    SUPERSET_HTTPS: 1 behind a proxy that terminates TLS.
"""

import os
from pathlib import Path
from typing import Any

import warehouse_connections
from viewer_security import ViewerSecurityManager
from warehouse_connections import one_configuration, refuse_copy, validate_uri

_HOME = Path(os.environ["SUPERSET_HOME"])
_BEHIND_HTTPS = os.environ.get("SUPERSET_HTTPS") == "1"
_REDIS_URL = os.environ.get("SUPERSET_REDIS_URL")

# Secrets and sessions ---------------------------------------------------------------------------------------------

SECRET_KEY = os.environ.get("SUPERSET_SECRET_KEY") or (_HOME / "secret_key").read_text().strip()
WTF_CSRF_ENABLED = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# Without HTTPS browsers do not send a secure cookie, and nobody could sign in.
SESSION_COOKIE_SECURE = _BEHIND_HTTPS
ENABLE_PROXY_FIX = _BEHIND_HTTPS
RATELIMIT_ENABLED = True
# Only posts to the sign-in form are limited, per address. A dashboard requests all its charts at once.
RATELIMIT_APPLICATION = None
AUTH_RATE_LIMIT = "20 per minute"
RATELIMIT_STORAGE_URI = _REDIS_URL or "memory://"
# People can sign in while Redis is away; each process counts for itself then.
RATELIMIT_IN_MEMORY_FALLBACK_ENABLED = True


def FLASK_APP_MUTATOR(app: Any) -> None:  # noqa: N802 # Superset calls it by this name
    """Change the application where Superset has no setting."""
    _limit_sign_in(app)
    _separate_users(app)
    _wrap_bar_labels(app)
    _open_dashboard_first(app)


def _current_user() -> object:
    """Return the id of the user whose request this thread answers, or None outside a request."""
    from flask import g, has_request_context

    return getattr(g.user, "id", None) if has_request_context() and hasattr(g, "user") else None


def _limit_sign_in(app: Any) -> None:
    """Limit sign-in by the form and by the API. Superset 6.1 limits only the page with the form, which gets no posts.

    The API counts refused attempts only, because programs sign in for every session.
    """
    manager = app.appbuilder.sm
    manager.limiter.limit(AUTH_RATE_LIMIT, methods=["POST"])(manager.auth_view.blueprint)
    sign_in = app.view_functions["SecurityApi.login"]
    limited = manager.limiter.limit(AUTH_RATE_LIMIT, deduct_when=lambda response: response.status_code != 200)
    app.view_functions["SecurityApi.login"] = limited(sign_in)


def _separate_users(app: Any) -> None:
    """Add the user to the identifier of a session, under which Superset finds the filters and unsaved charts of a tab.

    Flask-Login's identifier is a digest of address and browser, and Superset counts tabs from 1 in each browser. So
    colleagues behind one address would overwrite each other's filters. There is no public way to add to it.
    """
    from flask import session

    identify = app.login_manager._session_identifier_generator
    app.login_manager._session_identifier_generator = lambda: f"{identify()}-{session.get('_user_id')}"


def _open_dashboard_first(app: Any) -> None:
    """Redirect the start page, which follows the sign-in, to the dashboard instead of the list of recent charts.

    Someone who may not open the dashboard gets that list: the dashboard would send them back to the start page.
    """
    from flask import g, redirect
    from superset.models.dashboard import Dashboard

    manager = app.appbuilder.sm
    list_recent = app.view_functions["SupersetIndexView.index"]

    def start() -> Any:
        dashboard = Dashboard.get("acl-all-stars")
        may_open = manager.can_access("can_dashboard", "Superset") and dashboard
        if g.user.is_anonymous or (may_open and manager.can_access_dashboard(dashboard)):
            return redirect("/superset/dashboard/acl-all-stars/")
        return list_recent()

    app.view_functions["SupersetIndexView.index"] = start


def _wrap_bar_labels(app: Any) -> None:
    """Wrap the labels of bars, in lines of a fixed height.

    The "EChart options" of a chart do not accept width, overflow and lineHeight. Without a fixed line height, ECharts
    derives it from the fonts of the reader's machine. Without the font family, it reserves too little space for labels.
    """
    theme = app.config["THEME_DEFAULT"]
    label = {"width": 140, "overflow": "break", "lineHeight": 15, "fontFamily": theme["token"]["fontFamily"]}
    bars = {"yAxis": {"axisLabel": label}}
    app.config["THEME_DEFAULT"] = theme | {"echartsOptionsOverridesByChartType": {"echarts_timeseries_bar": bars}}


# Pages load content from this server only: no telemetry, maps or fonts from other hosts -----------------------------

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
        # Superset's components create inline styles.
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
# The Swagger page loads scripts from another host, which the policy above forbids.
FAB_API_SWAGGER_UI = False

# Metadata and caches ----------------------------------------------------------------------------------------------

# Concurrent requests write at the same time; the timeout makes later writers wait in SQLite.
SQLALCHEMY_DATABASE_URI = f"sqlite:///{_HOME / 'metadata.db'}?check_same_thread=false&timeout=30"
SQLALCHEMY_EXAMPLES_URI = SQLALCHEMY_DATABASE_URI

if _REDIS_URL:
    _REDIS = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": _REDIS_URL}
    CACHE_CONFIG = {**_REDIS, "CACHE_KEY_PREFIX": "acl_superset_", "CACHE_DEFAULT_TIMEOUT": 24 * 60 * 60}
    FILTER_STATE_CACHE_CONFIG = {**_REDIS, "CACHE_KEY_PREFIX": "acl_filter_", "CACHE_DEFAULT_TIMEOUT": 90 * 24 * 3600}
    EXPLORE_FORM_DATA_CACHE_CONFIG = {**_REDIS, "CACHE_KEY_PREFIX": "acl_form_", "CACHE_DEFAULT_TIMEOUT": 7 * 24 * 3600}

# Limits of queries ------------------------------------------------------------------------------------------------

CUSTOM_SECURITY_MANAGER = ViewerSecurityManager
DB_SQLA_URI_VALIDATOR = validate_uri
DB_CONNECTION_MUTATOR = one_configuration
SQL_QUERY_MUTATOR = refuse_copy
# There is no DATA_CACHE_CONFIG, so results are not cached and every query reads the current published file. The data
# products are small enough for that.
ROW_LIMIT = 10_000
SQL_MAX_ROW = 10_000
DISPLAY_MAX_ROW = 10_000
DEFAULT_SQLLAB_LIMIT = 1_000
QUERY_SECONDS = 30
SQLLAB_TIMEOUT = QUERY_SECONDS
SUPERSET_WEBSERVER_TIMEOUT = 2 * QUERY_SECONDS
warehouse_connections.listen(QUERY_SECONDS, _current_user)
# SQL Lab runs queries synchronously: there are no background workers and no store for their results.
CELERY_CONFIG = None
RESULTS_BACKEND = None

# Appearance -------------------------------------------------------------------------------------------------------

# The colours of the dashboards need a light background.
THEME_DARK = None
SUPERSET_LOG_VIEW = True
