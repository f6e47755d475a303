"""Bring Superset's metadata to the version installed: tables, roles, permissions and the administrator.

Superset's own Python runs this script with the variables of the configuration, `ACL_SUPERSET_USER` and
`ACL_SUPERSET_PASSWORD`. A SQLite file must not be in use, and a crash may leave it damaged.
"""

from __future__ import annotations

import os
import sqlite3

import flask_migrate
from flask import current_app
from sqlalchemy import event
from sqlalchemy.engine import Engine
from superset.app import create_app
from superset.extensions import appbuilder, db, security_manager

VIEWER_ROLE = "ACL viewer"
WAREHOUSE_SCHEMA = "[ACL warehouse].[data_products]"
"""What viewers may read: the schema of the data products, named the way Superset names it in permissions."""

# What only looking at a dashboard does not need, of what Superset itself lets the public do.
_NOT_FOR_VIEWERS = {("can_explore_json", "Superset"), ("can_slice", "Superset")}
_ALSO_FOR_VIEWERS = {
    ("menu_access", "Dashboards"),
    ("can_userinfo", "UserDBModelView"),
    ("resetmypassword", "UserDBModelView"),
    ("can_this_form_get", "ResetMyPasswordView"),
    ("can_this_form_post", "ResetMyPasswordView"),
    ("can_recent_activity", "Log"),
    ("can_log", "Superset"),
    # The token against requests of other sites, without which pages cannot ask for anything.
    ("can_read", "SecurityRestApi"),
    ("can_read", "security"),
    # "View as table" and "Download" in the menu of a chart.
    ("can_view_chart_as_table", "Dashboard"),
    ("can_csv", "Superset"),
}


def main() -> None:
    """Migrate, synchronize roles, and see to the administrator."""
    event.listen(Engine, "connect", _write_quickly)
    with create_app().app_context():
        flask_migrate.upgrade(directory=current_app.extensions["migrate"].directory)
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        _make_viewer_role()
        _make_administrator(os.environ["ACL_SUPERSET_USER"], os.environ["ACL_SUPERSET_PASSWORD"])
        db.session.commit()


def _write_quickly(connection: object, _record: object) -> None:
    """In SQLite, do not wait for the disk thousands of times, and let readers be while the server writes."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = off")
        # The file remembers this one.
        connection.execute("pragma journal_mode = wal")


def _make_viewer_role() -> None:
    wanted = (security_manager.PUBLIC_ROLE_PERMISSIONS - _NOT_FOR_VIEWERS) | _ALSO_FOR_VIEWERS
    security_manager.add_permission_view_menu("schema_access", WAREHOUSE_SCHEMA)
    role = security_manager.add_role(VIEWER_ROLE)
    role.permissions = [
        granted
        for permission, view in sorted(wanted | {("schema_access", WAREHOUSE_SCHEMA)})
        if (granted := security_manager.find_permission_view_menu(permission, view))
    ]


def _make_administrator(name: str, password: str) -> None:
    user = security_manager.find_user(username=name)
    if user is None:
        admin = security_manager.find_role("Admin")
        security_manager.add_user(name, "ACL", "administrator", f"{name}@localhost", admin, password)
    elif not security_manager.auth_user_db(name, password):
        security_manager.reset_password(user.id, password)


if __name__ == "__main__":
    main()
