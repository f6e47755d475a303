"""The report as an asset: one HTML file from the published warehouse, with previews of its pictures as metadata."""

import base64
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue, ResourceParam, asset

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
            pictures = writer.call(report_on, settings.published_file, settings.report_file, time_zone)
        context.log.info(f"The report is in {settings.report_file}.")
        return MaterializeResult(
            metadata={
                "path": MetadataValue.path(str(settings.report_file)),
                "report": MetadataValue.url(settings.report_file.as_uri()),
                "bytes": settings.report_file.stat().st_size,
                **_previews(context, pictures),
            }
        )

    return all_stars_report


def _previews(context: AssetExecutionContext, pictures: dict[str, dict[str, Any]]) -> dict[str, MetadataValue[Any]]:
    """Return an image of each picture, or the reason why it could not be drawn, which fails nothing."""
    previews: dict[str, MetadataValue[Any]] = {}
    for name, specification in pictures.items():
        try:
            # In a process of its own, because the library aborts on what it cannot draw.
            with ChildProcesses() as painter:
                image = base64.b64encode(painter.call("vl_convert:vegalite_to_png", specification)).decode()
        except Exception as error:
            reason = f"The preview of {name} could not be drawn: {error}"
            context.log.warning(f"{reason} The report holds that picture; open it in a browser.")
            previews[name] = MetadataValue.text(reason)
        else:
            # Markdown is the only metadata that shows an image. It holds text from data as pixels alone.
            previews[name] = MetadataValue.md(f"![{name}](data:image/png;base64,{image})")
    return previews
