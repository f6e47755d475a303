"""The report as an asset: one HTML file from the published warehouse, its pictures previewed in the metadata.

What belongs here: the thin asset. What does not: charts, page and images (`charts`, `report`, `previews`).
"""

import base64
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, ResourceParam, asset

from acl_assets.child_process import ChildProcess
from acl_assets.landing_zone.sensor import PUBLISHED_WAREHOUSE
from acl_assets.settings import Settings
from acl_assets.transformation.translator import FRESHNESS, OWNERS

_WRITE_REPORT = "acl_assets.visualization.report:report_on"
_SPECIFY_PREVIEWS = "acl_assets.visualization.report:previews_of"
_KEEP_DRAWING_LIBRARY = "acl_assets.visualization.drawing_library:keep_drawing_library"
_START_DRAWING = "acl_assets.visualization.previews:start_drawing"
_DRAW_PREVIEWS = "acl_assets.visualization.previews:draw_previews"


@asset(
    deps=[PUBLISHED_WAREHOUSE],
    group_name="visualization",
    owners=list(OWNERS),
    kinds={"altair", "html"},
    freshness_policy=FRESHNESS,
    description="The three pictures and the all-star table in one self-contained HTML file.",
)
def all_stars_report(context: AssetExecutionContext, settings: ResourceParam[Settings]) -> MaterializeResult[Any]:
    """Render the report from the published file alone."""
    with ChildProcess() as writer, ChildProcess() as painter:
        writer.begin(_SPECIFY_PREVIEWS, settings.published_file)
        painter.call(_KEEP_DRAWING_LIBRARY, settings.report_file.parent)
        painter.begin(_START_DRAWING)
        specifications = writer.result()
        painter.result()
        painter.begin(_DRAW_PREVIEWS, specifications)
        writer.call(_WRITE_REPORT, settings.published_file, settings.report_file)
        context.log.info(f"The report is in {settings.report_file}.")
        pictures = painter.result()
    previews = {
        name: MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(picture).decode()})")
        for name, picture in pictures.items()
    }
    return MaterializeResult(
        metadata={
            "path": MetadataValue.path(str(settings.report_file)),
            "report": MetadataValue.url(settings.report_file.as_uri()),
            "bytes": settings.report_file.stat().st_size,
            **previews,
        }
    )
