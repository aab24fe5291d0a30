"""The routes of a transcript's versions."""

from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.di import NamedDependency as Given
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import PathParameter

from services.gateway import idempotency, shapes
from services.gateway.corrections import CHANGES_MAX, NAME_MAX, NUMBER_MAX, TEXT_MAX, Correction, checked
from services.gateway.handler import Credential, DeedKey, Jobs
from services.gateway.problems import documented
from services.gateway.versions import Version, Versions

BODY_BYTES_MAX = 4 << 20
"""Of the JSON of a correction."""

JobId = Annotated[str, PathParameter(description="The id from the submit.", max_length=64)]

_PLAIN = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"


@dataclass
class CorrectOperation(Operation):
    """New names and words, or an earlier version brought back."""

    def __post_init__(self) -> None:
        """Called by the framework."""
        word = Schema(
            type=OpenAPIType.OBJECT,
            properties={
                "word": _number("Its number in the whole transcript, from 0."),
                "text": Schema(
                    type=OpenAPIType.STRING,
                    pattern=_PLAIN,
                    max_length=TEXT_MAX,
                    description="Nothing, one word or several.",
                ),
            },
            required=["word", "text"],
            additional_properties=False,
        )
        name = Schema(type=OpenAPIType.STRING, pattern=_PLAIN, min_length=1, max_length=NAME_MAX)
        schema = Schema(
            type=OpenAPIType.OBJECT,
            properties={
                "based_on": _number("The version that is corrected: the latest."),
                "speakers": Schema(
                    type=OpenAPIType.OBJECT,
                    additional_properties=name,
                    description="Names as they are, and as they are to be.",
                ),
                "words": Schema(type=OpenAPIType.ARRAY, items=word, max_items=CHANGES_MAX),
                "restore": _number("Instead: the version that is to be brought back."),
            },
            required=["based_on"],
            additional_properties=False,
        )
        self.request_body = RequestBody(required=True, content={"application/json": OpenAPIMediaType(schema=schema)})


def _number(description: str) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=NUMBER_MAX, description=description)


@get(
    "/api/jobs/{job_id:str}/versions",
    tags=["versions"],
    summary="List versions",
    responses=documented(400, 404, 409, 410, 503),
)
async def list_versions(
    job_id: JobId, jobs: Given[Jobs], versions: Given[Versions], credential: Credential
) -> list[Version]:
    """What was heard, and every correction since."""
    return await versions.listed(await jobs.opened(job_id, credential))


@post(
    "/api/jobs/{job_id:str}/versions",
    tags=["versions"],
    summary="Correct the transcript",
    operation_class=CorrectOperation,
    responses=documented(400, 404, 409, 410, 413, 415, 422, 503, 507),
)
async def correct(
    request: Request[Any, Any, Any],
    job_id: JobId,
    jobs: Given[Jobs],
    versions: Given[Versions],
    secret: Given[bytes],
    credential: Credential,
    _key: DeedKey = None,
) -> Version:
    """Make a new version; its subtitles follow within seconds. Nothing is lost: every version stays, the first too.

    Somebody may have corrected the same version meanwhile: then `version` of the problem is the one to load.
    """
    view = await jobs.opened(job_id, credential, owner=True)
    asked = checked(await shapes.read(request, Correction, max_bytes=BODY_BYTES_MAX))
    key = idempotency.key(request.headers.getall(idempotency.HEADER, []))
    identity = idempotency.of_job(key, "correct", view.job_id, view.token_sha256, secret) if key is not None else None
    return await versions.correct(view, asked, identity)


ROUTES = [list_versions, correct]
