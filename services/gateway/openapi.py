"""The OpenAPI description of bodies that are read as a stream and so have no model to take it from."""

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from contracts import addresses
from contracts.parameters import Parameters
from services.gateway import idempotency
from services.gateway.naming import ITEMS_MAX

_ONE_SOURCE = [Schema(required=["upload_id"]), Schema(required=["source_url"])]


@dataclass
class SubmitOperation(Operation):
    """A form with the part `file`, or JSON that names an upload or an address; beside it, the parameters."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        fields = _parameters()
        file = {"file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="The recording.")}
        named = _named()
        self.request_body = RequestBody(
            required=True,
            content={
                "multipart/form-data": OpenAPIMediaType(
                    schema=Schema(type=OpenAPIType.OBJECT, properties={**file, **fields}, required=["file"])
                ),
                "application/json": OpenAPIMediaType(
                    schema=Schema(
                        type=OpenAPIType.OBJECT,
                        properties={**named, **fields},
                        one_of=_ONE_SOURCE,
                    )
                ),
            },
        )


@dataclass
class BatchOperation(Operation):
    """JSON that names uploads and addresses, and the parameters for all."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        item = Schema(type=OpenAPIType.OBJECT, properties=_named(), one_of=_ONE_SOURCE, additional_properties=False)
        items = Schema(type=OpenAPIType.ARRAY, items=item, min_items=1, max_items=ITEMS_MAX)
        schema = Schema(
            type=OpenAPIType.OBJECT,
            properties={"items": items, **_parameters()},
            required=["items"],
            additional_properties=False,
        )
        self.request_body = RequestBody(required=True, content={"application/json": OpenAPIMediaType(schema=schema)})


@dataclass
class RawSubmitOperation(Operation):
    """The body is the file, and the query has a field for each parameter."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        self.parameters = [
            *(self.parameters or []),
            *(
                Parameter(name=name, param_in="query", required=False, schema=schema)
                for name, schema in _parameters().items()
            ),
        ]
        self.request_body = _binary()


@dataclass
class TusOperation(Operation):
    """Says which version of tus it is."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        version = Schema(type=OpenAPIType.STRING, enum=["1.0.0"])
        self._head("Tus-Resumable", version, required=True)

    def _head(self, name: str, schema: Schema, *, required: bool = False) -> None:
        header = Parameter(name=name, param_in="header", required=required, schema=schema)
        self.parameters = [*(self.parameters or []), header]


@dataclass
class CreateOperation(TusOperation):
    """Announces a file."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        super().__post_init__()
        self._head("Upload-Length", Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=(1 << 63) - 1), required=True)
        metadata = "Names and, after a blank, values in base64, by comma; `filename` names the recording."
        self._head("Upload-Metadata", Schema(type=OpenAPIType.STRING, description=metadata))
        key = (
            f"{idempotency.FORM}. Sent again with the same length and metadata, the answer is the upload that there "
            f"is. {idempotency.HOLDS}"
        )
        self._head(
            idempotency.HEADER,
            Schema(type=OpenAPIType.STRING, description=key, min_length=1, max_length=255, pattern="^[!-~]+$"),
        )


@dataclass
class BytesOperation(TusOperation):
    """The body is bytes of an upload."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        super().__post_init__()
        self._head("Upload-Offset", Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=(1 << 63) - 1), required=True)
        checksum = "`sha1` or `sha256` and, after a blank, the digest of the body in base64."
        digest = "^sha(1|256) [A-Za-z0-9+/]{27,43}=$"
        self._head("Upload-Checksum", Schema(type=OpenAPIType.STRING, description=checksum, pattern=digest))
        self.request_body = _binary("application/offset+octet-stream")


@dataclass
class PartOperation(Operation):
    """The body is one part of an upload."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        self.request_body = _binary()


def _named() -> dict[str, Any]:
    """How a recording is named that does not come along."""
    return {
        "upload_id": Schema(type=OpenAPIType.STRING, description="A finished upload."),
        "upload_token": Schema(
            type=OpenAPIType.STRING, description="The token of the upload, where it is not sent as `Bearer`."
        ),
        "source_url": Schema(
            type=OpenAPIType.STRING,
            description="Instead of an upload: the http or https address of the recording, which is fetched then.",
            max_length=addresses.LENGTH_MAX,
        ),
        "filename": Schema(type=OpenAPIType.STRING, description="Default: as the upload or the address says."),
    }


def _binary(media_type: str = "application/octet-stream") -> RequestBody:
    schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
    return RequestBody(required=True, content={media_type: OpenAPIMediaType(schema=schema)})


def _parameters() -> dict[str, Any]:
    return properties(Parameters)


def properties(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a flat Struct."""
    (reference,), components = msgspec.json.schema_components([kind], ref_template="{name}")
    return {name: _schema(described) for name, described in components[reference["$ref"]]["properties"].items()}


def _schema(described: dict[str, Any]) -> Schema:
    """A JSON schema of msgspec's as the framework's type."""
    simple = described
    if "anyOf" in described:
        simple = described | next(one for one in described["anyOf"] if one.get("type") != "null")
    return Schema(
        type=OpenAPIType(simple["type"]) if "type" in simple else None,
        description=simple.get("description"),
        enum=simple.get("enum"),
        pattern=simple.get("pattern"),
        max_length=simple.get("maxLength"),
        minimum=simple.get("minimum"),
        maximum=simple.get("maximum"),
        default=described.get("default"),
    )
