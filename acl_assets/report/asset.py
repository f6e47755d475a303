"""The report as an asset: one HTML file from the published warehouse, with previews of its pictures as metadata."""

import base64
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    asset,
)

from acl_assets.asset_keys import CODE_METADATA, FRESHNESS, OWNERS, PUBLISHED_WAREHOUSE, VISUALIZATION_GROUP
from acl_assets.settings import Settings
from acl_assets.util.code_links import code_link
from acl_assets.util.processes import ChildProcesses


def build_all_stars_report(time_zone: str) -> AssetsDefinition:
    """Return the asset of the report, which shows instants in UTC and in the festival's time zone."""

    @asset(
        deps=[PUBLISHED_WAREHOUSE],
        group_name=VISUALIZATION_GROUP,
        owners=list(OWNERS),
        metadata={CODE_METADATA: code_link("acl_assets/report/asset.py")},
        kinds={"altair", "html"},
        freshness_policy=FRESHNESS,
        description="The three pictures and the all-star table in one self-contained HTML file.",
    )
    def all_stars_report(context: AssetExecutionContext, settings: ResourceParam[Settings]) -> MaterializeResult[Any]:
        """Render the report from the published file alone."""
        with ChildProcesses() as writer:
            report_on = "acl_assets.report.page:report_on"
            pictures: dict[str, bytes] = writer.call(
                report_on, settings.published_file, settings.report_file, time_zone
            )
        context.log.info(f"The report is in {settings.report_file}.")
        return MaterializeResult(
            metadata={
                "path": MetadataValue.path(str(settings.report_file)),
                "report": MetadataValue.url(settings.report_file.as_uri()),
                "bytes": settings.report_file.stat().st_size,
                **{name: _preview(name, picture) for name, picture in pictures.items()},
            }
        )

    return all_stars_report


def _preview(name: str, picture: bytes) -> MarkdownMetadataValue:
    """Return a picture in Markdown, the only metadata that shows one; text from data is in it as pixels alone."""
    return MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(picture).decode()})")
