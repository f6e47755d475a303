select
    batch_id,
    kind,
    exported_at,
    manifest_digest,
    has_manifest
from {{ source('festival', 'export_batches') }}
