"""The quality report of a job's captions."""

from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency as Given
from litestar.params import PathParameter

from chassis.store import Store
from contracts.progress import JobView, Status
from contracts.quality import QUALITY, Quality
from services.gateway.handler import Jobs, VersionChoice
from services.gateway.problems import Problem, documented
from services.gateway.versions import Versions

JobId = Annotated[str, PathParameter(description="The id from the submit.", max_length=64)]
Credential = Given[str | None]


@get(
    "/api/jobs/{job_id:str}/quality",
    tags=["jobs"],
    summary="Get the quality report",
    responses=documented(400, 404, 409, 410, 503),
)
async def quality(
    job_id: JobId,
    jobs: Given[Jobs],
    store: Given[Store],
    versions: Given[Versions],
    credential: Credential,
    version: VersionChoice = None,
) -> Response[Quality]:
    """How far the captions keep the limits of each preset, and what there is to know of the words."""
    view = await versions.at(await jobs.opened(job_id, credential), version)
    if QUALITY not in view.results:
        raise _none(view)
    content = msgspec.json.decode(await store.get(view.results[QUALITY].key), type=Quality)
    return Response(content, headers={"Cache-Control": "private, no-cache"})


def _none(view: JobView) -> Problem:
    if view.status is Status.COMPLETED:
        return Problem(
            409, "no_report", "This job was made before there were quality reports. Submit the recording again."
        )
    return Problem(409, "not_finished", f"The job has no subtitles yet; it is {view.status}.")


ROUTES = [quality]
