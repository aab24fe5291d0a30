"""What a caller is shown of a job and of its facts: a pure function of the log. Knows neither NATS nor HTTP."""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from contracts import addresses, facts, progress
from contracts.artifacts import ArtifactRef
from contracts.captioning import FORMATS
from contracts.failures import FAILURES, WARNINGS, Failure, FailureCode
from contracts.parameters import Parameters
from contracts.progress import JobView, LiveProgress, Stage, Status
from services.gateway.estimate import Experience

_HIDDEN = frozenset(
    {
        "owner",
        "token_sha256",
        "fact",
        "detail",
        "told",
        "tier",
        "turns",
        "source_url",
        "items",
        "retried_as",
        "edited_as",
        "asked",
    }
)
_REMEMBERED_RUNS = 10_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as users see it. Times are UTC; `progress` is per cent, `stages` are fractions from 0 to 1."""

    job_id: str
    run: int
    """Counts manual retries, from 1."""
    status: Status
    filename: str
    source_host: str | None
    """Of a job that came with an address: where the recording is fetched from. The rest of the address is not shown."""
    parameters: Parameters
    progress: float
    progress_stage: Stage
    progress_message: str
    stages: dict[Stage, float]
    queue_position: int | None
    starts_in_s: float | None
    """Seconds until a job in the queue is likely to start, where that can be told."""
    estimated_remaining_seconds: float | None
    """Of a job that runs, where jobs like it have been seen."""
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    error_reference: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    """When the run ended, however it ended."""
    language: str | None
    duration_s: float | None
    speakers: int | None
    words: int | None
    warnings: list[str]
    """Codes of what is less than was asked for; `notes` are the sentences."""
    notes: list[str]
    cached: bool
    cached_at: datetime | None
    version: int
    """Of the transcript: the latest correction that is in the downloads. 0: as it was heard."""
    downloads: dict[str, str]
    """Format to path, once completed."""
    result: dict[str, Any] | None = None
    """The content of the JSON format, once completed; not in lists."""


def shown(view: JobView, experience: Experience | None = None) -> Job:
    """The job without its result; what is left of it is estimated from experience."""
    message, hint = _error(view)
    return Job(
        job_id=view.job_id,
        run=view.run,
        status=view.status,
        filename=view.filename,
        source_host=_host(view),
        parameters=view.parameters,
        progress=view.progress,
        progress_stage=view.progress_stage,
        progress_message=view.progress_message,
        stages={stage: round(view.stage_fractions.get(stage, 0.0), 4) for stage in view.stages},
        queue_position=view.queue_position,
        starts_in_s=view.starts_in_s,
        estimated_remaining_seconds=experience.remaining_s(view) if experience else None,
        error_code=view.error_code,
        error_message=message,
        error_hint=hint,
        error_reference=view.error_reference,
        created_at=view.accepted_at,
        started_at=view.started_at,
        completed_at=view.ended_at,
        language=view.language,
        duration_s=view.media.duration_s if view.media else None,
        speakers=view.speakers,
        words=view.words,
        warnings=view.warnings,
        notes=[WARNINGS.get(warning, warning) for warning in view.warnings],
        cached=view.cached,
        cached_at=view.cached_at,
        version=view.version,
        downloads={name: f"/api/jobs/{view.job_id}/download/{name}" for name in FORMATS if name in view.results},
    )


def spoken(fact: facts.AnyFact) -> tuple[str, dict[str, Any]]:
    """Name and content of a fact for those who watch: no token, no hash, no place in the store, no internal detail."""
    values = {
        field: shown_value
        for field in fact.__struct_fields__
        if field not in _HIDDEN and (shown_value := _without_artifacts(getattr(fact, field))) is not _NOTHING
    }
    if isinstance(fact, facts.JobFailed):
        failure = FAILURES[fact.code]
        values |= {"message": _sentence(failure, fact.told), "hint": failure.hint}
    for common in ("job_id", "run", "at"):
        values.pop(common, None)
    return facts.name(fact).replace("-", "_"), values


class HighWater:
    """The furthest progress each run was shown with, so that no answer takes back an earlier one.

    Progress between facts is lossy: the last word of a stage may be lost, or start again after a crash.
    """

    def __init__(self, runs: int = _REMEMBERED_RUNS) -> None:
        self._runs = runs
        self._fractions: OrderedDict[tuple[str, int], dict[Stage, float]] = OrderedDict()

    def raised(self, view: JobView) -> JobView:
        """The view with each stage at least as far as it was shown before."""
        key = (view.job_id, view.run)
        known = self._fractions.pop(key, {})
        fractions = {
            stage: max(known.get(stage, 0.0), view.stage_fractions.get(stage, 0.0))
            for stage in {*known, *view.stage_fractions}
        }
        self._fractions[key] = fractions
        if len(self._fractions) > self._runs:
            self._fractions.popitem(last=False)
        return msgspec.structs.replace(view, stage_fractions=fractions)


def folded(recorded: Iterable[tuple[int, facts.AnyFact]], live: Iterable[LiveProgress] = ()) -> JobView | None:
    """The job after facts in log order and, on top of them, words of live progress."""
    view: JobView | None = None
    for seq, fact in recorded:
        view = progress.fold(view, fact, seq)
    for word in live:
        view = progress.advance(view, word) if view is not None else None
    return view


_NOTHING = object()


def _without_artifacts(value: Any) -> Any:
    if isinstance(value, ArtifactRef):
        return _NOTHING
    if isinstance(value, dict):
        if value and all(isinstance(one, ArtifactRef) for one in value.values()):
            return sorted(name for name in value if name in FORMATS)
        return value
    return value


def _error(view: JobView) -> tuple[str | None, str | None]:
    if view.error_code is None:
        return None, None
    try:
        failure = FAILURES[FailureCode(view.error_code)]
    except (ValueError, KeyError):
        return view.error_message, None
    return _sentence(failure, view.error_told), failure.hint


def _sentence(failure: Failure, told: str | None) -> str:
    return f"{failure.sentence} {told}" if told else failure.sentence


def _host(view: JobView) -> str | None:
    if view.source_url is None:
        return None
    try:
        return addresses.parse(view.source_url).authority
    except addresses.Malformed:
        return None  # somebody else wrote the fact
