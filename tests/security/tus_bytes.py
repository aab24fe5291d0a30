"""Loaded into schemathesis: the body of a resumable upload is sent as any other bytes are."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
