"""The dashboards as an asset: imported when the repository's changed, and every chart checked."""

from collections.abc import Iterator
from typing import Any

from dagster import AssetExecutionContext, Failure, MaterializeResult, MetadataValue, ResourceParam, asset

from acl_assets.asset_keys import CODE_METADATA, OWNERS, PUBLISHED_WAREHOUSE, VISUALIZATION_GROUP
from acl_assets.settings import Settings
from acl_assets.superset.bundle import find_orphans, import_bundle, is_imported, read_bundle
from acl_assets.superset.chart_checks import check_charts
from acl_assets.superset.client import SupersetError, superset_client
from acl_assets.superset.export import edits_in_words, find_edited
from acl_assets.warehouse.published_file import PublishedFileError


@asset(
    deps=[PUBLISHED_WAREHOUSE],
    group_name=VISUALIZATION_GROUP,
    owners=list(OWNERS),
    metadata={CODE_METADATA: MetadataValue.path("acl_assets/superset/asset.py")},
    kinds={"superset"},
    output_required=False,
    description="The dashboards in Superset: imported when the repository's changed, and every chart checked to be as "
    "imported and to answer from the published warehouse. Skipped where ACL_SUPERSET_URL is not set.",
)
def superset_dashboard(context: AssetExecutionContext, settings: ResourceParam[Settings]) -> Iterator[Any]:
    """Import the dashboards if they changed, check every chart, and list the charts in the metadata.

    What was edited in Superset is named and fails the asset. It is never overwritten: nothing is imported then.
    """
    if settings.superset_url is None:
        context.log.info("Skipped: ACL_SUPERSET_URL is not set.")
        return
    try:
        with superset_client(settings) as client:
            bundle = read_bundle().for_installation(settings)
            edited = find_edited(client, bundle)
            is_current = is_imported(client, bundle)
            if not is_current and not edited:
                import_bundle(client, settings)
            charts = check_charts(client, settings, bundle)
            orphans = ", ".join(map(str, find_orphans(client, bundle)))
    except (PublishedFileError, SupersetError) as error:
        raise Failure(str(error), allow_retries=False) from None
    if orphans:
        context.log.warning(
            f"No longer in the repository, and still in Superset: {orphans}. Remove them with: "
            "python -m acl_assets.superset orphans --remove"
        )
    wrong = [f"{chart.name} {chart.problem}" for chart in charts if chart.problem]
    problems = [f"{len(wrong)} of {len(charts)} charts are wrong: {'; '.join(wrong)}."] if wrong else []
    problems += [edits_in_words(edited)] if edited else []
    if problems:
        raise Failure(" ".join(problems), allow_retries=False)
    dashboard, *_ = bundle.of_kind("dashboards")
    yield MaterializeResult(
        metadata={
            "dashboard": MetadataValue.url(f"{client.url}/superset/dashboard/{dashboard.content['slug']}/"),
            "bundle": f"{'unchanged since it was imported' if is_current else 'imported'}: {bundle.digest}",
            "orphans": orphans or "none",
            **{
                f"chart: {chart.name}": MetadataValue.md(
                    f"[{chart.rows} rows]({client.url}/explore/?slice_id={chart.id})"
                )
                for chart in charts
            },
        }
    )
