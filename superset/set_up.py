"""Migrate Superset's metadata to the installed version: tables, roles, permissions and the administrator.

Run the script with Superset's own Python and the variables of `superset_config.py`, `ACL_SUPERSET_USER` and
`ACL_SUPERSET_PASSWORD`. If the metadata is a SQLite file, nothing else may use it, and a crash may damage it.
"""

import os
import sqlite3

import flask_migrate
from flask import current_app
from sqlalchemy import event
from sqlalchemy.engine import Engine
from superset.app import create_app
from superset.extensions import appbuilder, db, security_manager

VIEWER_ROLE = "ACL viewer"
WAREHOUSE_SCHEMAS = ("[ACL warehouse].[data_products]", "[ACL warehouse].[publication]")
"""The schemas that viewers may read, as Superset names them in permissions: data products, and their age and checks."""

# Permissions in Superset's own public role that a viewer of dashboards does not need.
_NOT_FOR_VIEWERS = {("can_explore_json", "Superset"), ("can_slice", "Superset")}
_ALSO_FOR_VIEWERS = {
    ("menu_access", "Dashboards"),
    ("can_userinfo", "UserDBModelView"),
    ("resetmypassword", "UserDBModelView"),
    ("can_this_form_get", "ResetMyPasswordView"),
    ("can_this_form_post", "ResetMyPasswordView"),
    ("can_recent_activity", "Log"),
    ("can_log", "Superset"),
    # Pages need the CSRF token for every request.
    ("can_read", "SecurityRestApi"),
    ("can_read", "security"),
    # "View as table" and "Download" in the menu of a chart.
    ("can_view_chart_as_table", "Dashboard"),
    ("can_csv", "Superset"),
}


def main() -> None:
    """Migrate the tables, synchronize roles, and create or update the administrator."""
    event.listen(Engine, "connect", _write_quickly)
    with create_app().app_context():
        flask_migrate.upgrade(directory=current_app.extensions["migrate"].directory)
        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        _make_viewer_role()
        _make_administrator(os.environ["ACL_SUPERSET_USER"], os.environ["ACL_SUPERSET_PASSWORD"])
        db.session.commit()


def _write_quickly(connection: object, _record: object) -> None:
    """In SQLite, skip thousands of disk syncs during the migration, and allow reads while the server writes."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = off")
        # SQLite stores this setting in the file.
        connection.execute("pragma journal_mode = wal")


def _make_viewer_role() -> None:
    wanted = (security_manager.PUBLIC_ROLE_PERMISSIONS - _NOT_FOR_VIEWERS) | _ALSO_FOR_VIEWERS
    schemas = {("schema_access", schema) for schema in WAREHOUSE_SCHEMAS}
    for permission, schema in schemas:
        security_manager.add_permission_view_menu(permission, schema)
    role = security_manager.add_role(VIEWER_ROLE)
    role.permissions = [
        granted
        for permission, view in sorted(wanted | schemas)
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
