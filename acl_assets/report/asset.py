"""The report as an asset: one HTML file from the published warehouse, with previews of its pictures as metadata."""

import base64
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue, ResourceParam, asset

from acl_assets.asset_keys import CODE_METADATA, FRESHNESS, OWNERS, PUBLISHED_WAREHOUSE, VISUALIZATION_GROUP
from acl_assets.settings import Settings
from acl_assets.util.processes import ChildProcesses
from acl_assets.util.runs import unwritable


def build_all_stars_report(time_zone: str) -> AssetsDefinition:
    """Return the asset of the report, which shows instants in UTC and in the festival's time zone."""

    @asset(
        deps=[PUBLISHED_WAREHOUSE],
        group_name=VISUALIZATION_GROUP,
        owners=list(OWNERS),
        metadata={CODE_METADATA: MetadataValue.path("acl_assets/report/asset.py")},
        kinds={"altair", "html"},
        freshness_policy=FRESHNESS,
        description="The three pictures and the all-star table in one self-contained HTML file.",
    )
    def all_stars_report(context: AssetExecutionContext, settings: ResourceParam[Settings]) -> MaterializeResult[Any]:
        """Render the report from the published file alone."""
        file = settings.report_file
        try:
            with ChildProcesses() as writer:
                pictures = writer.call("acl_assets.report.page:report_on", settings.published_file, file, time_zone)
        except OSError as error:
            raise unwritable(file.parent, error) from None
        context.log.info(f"The report is in {file}.")
        # Only Markdown shows pictures in Dagster's UI. Text from data is encoded, and a picture runs no code.
        previews = {
            name: MetadataValue.md(f"![{name}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")
            for name, svg in pictures.items()
        }
        return MaterializeResult(
            metadata={
                "path": MetadataValue.path(str(file)),
                "report": MetadataValue.url(file.as_uri()),
                "bytes": file.stat().st_size,
                **previews,
            }
        )

    return all_stars_report
