"""The dashboards as an asset: in step with the repository, and true to what is published.

What belongs here: the thin asset and its metadata. What does not: importing (`bundle`), comparing (`verification`),
photographing (`thumbnails`).
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from dagster import AssetExecutionContext, Failure, MaterializeResult, MetadataValue, ResourceParam, asset

from acl_assets.asset_keys import OWNERS, PUBLISHED_WAREHOUSE, VISUALIZATION_GROUP
from acl_assets.settings import Settings
from acl_assets.superset.bundle import (
    BUNDLE_DIR,
    Bundle,
    BundleError,
    find_orphans,
    import_bundle,
    is_imported,
    read_bundle,
    refresh_caches,
)
from acl_assets.superset.client import SupersetClient, SupersetError, superset_client
from acl_assets.superset.verification import VerifiedChart, verify_charts
from acl_assets.util.processes import ChildProcessDiedError, ChildProcesses

_THUMBNAILS = "acl_assets.superset.thumbnails:take_thumbnails"


@asset(
    deps=[PUBLISHED_WAREHOUSE],
    group_name=VISUALIZATION_GROUP,
    owners=list(OWNERS),
    kinds={"superset"},
    output_required=False,
    description="The dashboards in Superset: imported when the repository's changed, and every chart held against "
    "the published warehouse. Skipped where ACL_SUPERSET_URL is not set.",
)
def superset_dashboard(context: AssetExecutionContext, settings: ResourceParam[Settings]) -> Iterator[Any]:
    """Bring the dashboards into step, verify every chart, and say of each where it is and what it looks like."""
    if settings.superset_url is None:
        context.log.warning("Skipped: ACL_SUPERSET_URL is not set, so there are no dashboards to keep in step.")
        return
    try:
        with superset_client(settings) as client:
            bundle = read_bundle(BUNDLE_DIR).for_installation(settings)
            imported = not is_imported(client, bundle)
            if imported:
                bundle = import_bundle(client, settings)
            refresh_caches(client, bundle)
            charts = verify_charts(client, settings, bundle)
            orphans = [str(orphan) for orphan in find_orphans(client, bundle)]
    except (BundleError, SupersetError) as error:
        raise Failure(str(error), allow_retries=False) from None
    wrong = [f"{chart.name} {chart.problem}" for chart in charts if chart.problem]
    pictures = {} if wrong else _thumbnails(context, client, bundle)
    metadata: dict[str, MetadataValue[Any] | str] = {
        "dashboard": MetadataValue.url(f"{client.url}/superset/dashboard/{_slugs(bundle)[0]}/"),
        "bundle": f"{'imported' if imported else 'unchanged since it was imported'}: {bundle.digest}",
        "orphans": ", ".join(orphans) or "none",
        **_described(client, charts, pictures),
    }
    if orphans:
        context.log.warning(
            f"No longer in the repository, and still in Superset: {', '.join(orphans)}. Remove them with: "
            "python -m acl_assets.superset orphans --remove"
        )
    if wrong:
        raise Failure(f"{len(wrong)} of {len(charts)} charts do not show the truth: {'; '.join(wrong)}", metadata)
    yield MaterializeResult(metadata=metadata)


def _slugs(bundle: Bundle) -> list[str]:
    return [str(dashboard.content["slug"]) for dashboard in bundle.of_kind("dashboards")]


def _thumbnails(context: AssetExecutionContext, client: SupersetClient, bundle: Bundle) -> Mapping[str, bytes]:
    """Pictures by the charts' names; without a browser, or when it fails, the reason is logged and there are none."""
    charts = [chart.name for chart in bundle.of_kind("charts")]
    try:
        with ChildProcesses() as photographer:
            pictures: Mapping[str, bytes] = photographer.call(
                _THUMBNAILS, client.url, client.user, client.password, _slugs(bundle), charts
            )
    except (ChildProcessDiedError, SupersetError) as error:
        context.log.warning(f"No pictures of the charts: {error}")
        return {}
    return pictures


def _described(
    client: SupersetClient, charts: list[VerifiedChart], pictures: Mapping[str, bytes]
) -> dict[str, MetadataValue[Any]]:
    """Return one entry for each chart: whether it is true, its rows, its address, and its picture if there is one.

    A problem quotes rows of the data, so it is text; the rest is Markdown, which shows the picture.
    """
    described: dict[str, MetadataValue[Any]] = {}
    for chart in charts:
        address = f"{client.url}/explore/?slice_id={chart.id}"
        if chart.problem:
            where = "" if chart.id is None else f" ({address})"
            described[f"chart: {chart.name}"] = MetadataValue.text(chart.problem + where)
            continue
        text = f"[as in the published warehouse, {chart.rows} rows]({address})"
        if chart.name in pictures:
            encoded = base64.b64encode(pictures[chart.name]).decode()
            text += f"\n\n![{chart.name}](data:image/png;base64,{encoded})"
        described[f"chart: {chart.name}"] = MetadataValue.md(text)
    return described
