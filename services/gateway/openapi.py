"""The OpenAPI description of the submit form, which is read as a stream and so has no model to take it from."""

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from contracts.parameters import Parameters


@dataclass
class SubmitOperation(Operation):
    """The part `file`, and a field for each parameter."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        (reference,), components = msgspec.json.schema_components([Parameters], ref_template="{name}")
        properties = components[reference["$ref"]]["properties"]
        fields: dict[str, Any] = {
            "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="The recording.")
        }
        for name, described in properties.items():
            fields[name] = _schema(described)
        self.request_body = RequestBody(
            required=True,
            content={
                "multipart/form-data": OpenAPIMediaType(
                    schema=Schema(type=OpenAPIType.OBJECT, properties=fields, required=["file"])
                )
            },
        )


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
