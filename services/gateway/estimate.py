"""How long a job takes, from jobs like it that have completed. Pure; every number is in seconds.

Work is counted in seconds per second of sound, stage by stage, as the median over jobs with the same model. What
happens beside it (chunks on several workers, waiting for one) is one factor: how long such jobs ran by the clock,
against how long their work adds up to.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from contracts.parameters import Parameters
from contracts.progress import WORK, JobView, Stage, Status

CACHED_S = 1.0
"""A job that finds everything stored."""
_SHORTEST_S = 1.0
"""Of shorter work the clock tells more about everything else."""


class _Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What the jobs with one model teach."""

    work_s: Mapping[Stage, float]
    """Of each second of sound."""
    clock: float
    """By the clock, of each second of work."""
    audio_s: Mapping[int, float]
    """Of each byte of a file, by the power of two that the file's size is near to."""


class Experience(msgspec.Struct, frozen=True):
    """What completed jobs teach, by model."""

    lessons: Mapping[str, _Lesson]

    def duration_s(self, parameters: Parameters, source_bytes: int) -> float | None:
        """How long such a job is likely to run once it has started; None where nothing like it is known."""
        return self._left_s(parameters, source_bytes, None, {})

    def remaining_s(self, view: JobView) -> float | None:
        """How long a job that runs has still to run; None where that is not known. Falls as its stages proceed."""
        if view.status is not Status.PROCESSING:
            return None
        audio_s = view.media.duration_s if view.media else None
        return self._left_s(view.parameters, view.source.bytes if view.source else 0, audio_s, view.stage_fractions)

    def _left_s(
        self, parameters: Parameters, source_bytes: int, audio_s: float | None, fractions: Mapping[Stage, float]
    ) -> float | None:
        lesson = self.lessons.get(parameters.model)
        if lesson is None:
            return None
        if audio_s is None:
            audio_s = _likely_audio_s(lesson, source_bytes)
        needed = {Stage.EXTRACTING, Stage.TRANSCRIBING, *([Stage.DIARIZING] if parameters.diarize else [])}
        if audio_s is None or not needed <= lesson.work_s.keys():
            return None

        def left_s(stage: Stage) -> float:
            if stage is Stage.DIARIZING and not parameters.diarize:
                return 0.0
            left = 1.0 - min(1.0, max(0.0, fractions.get(stage, 0.0)))
            return lesson.work_s.get(stage, 0.0) * audio_s * left

        return round(lesson.clock * _beside(left_s), 1)


def experience(views: Iterable[JobView]) -> Experience:
    """What there is to learn from jobs; from one that was found stored, there is nothing."""
    by_model: defaultdict[str, list[JobView]] = defaultdict(list)
    for view in views:
        if view.status is Status.COMPLETED and view.media is not None and view.media.duration_s > 0:
            by_model[view.parameters.model].append(view)
    return Experience({model: _lesson(alike) for model, alike in by_model.items()})


def _lesson(alike: Sequence[JobView]) -> _Lesson:
    work_s = {stage: _median(_work_s(job, stage) for job in alike) for stage in WORK}
    by_size: defaultdict[int, list[float | None]] = defaultdict(list)
    for job in alike:
        if job.source is not None and job.source.bytes > 0 and job.media is not None:
            by_size[job.source.bytes.bit_length()].append(job.media.duration_s / job.source.bytes)
    return _Lesson(
        work_s={stage: seconds for stage, seconds in work_s.items() if seconds is not None},
        clock=_median(map(_clock, alike)) or 1.0,
        audio_s={size: seconds for size, lengths in by_size.items() if (seconds := _median(lengths)) is not None},
    )


def _beside(seconds: Callable[[Stage], float]) -> float:
    """Transcribing and diarizing run beside each other, so the longer of the two counts."""
    at_once = max(seconds(Stage.TRANSCRIBING), seconds(Stage.DIARIZING))
    return seconds(Stage.EXTRACTING) + at_once + seconds(Stage.GENERATING)


def _work_s(job: JobView, stage: Stage) -> float | None:
    """Work of a stage for each second of sound; None where it did none, its result having been stored."""
    worked_s = job.stage_seconds.get(stage)
    if worked_s is None or worked_s < 0 or job.media is None:
        return None
    return worked_s / job.media.duration_s


def _clock(job: JobView) -> float | None:
    """How long a job ran for each second that its work adds up to."""
    worked_s = _beside(lambda stage: max(0.0, job.stage_seconds.get(stage, 0.0)))
    if job.started_at is None or job.ended_at is None or worked_s < _SHORTEST_S:
        return None
    ran_s = (job.ended_at - job.started_at).total_seconds() - job.stage_seconds.get(Stage.FETCHING, 0.0)
    return ran_s / worked_s if ran_s > 0 else None


def _likely_audio_s(lesson: _Lesson, source_bytes: int) -> float | None:
    """The likely length of the sound in a file: as in the files that are nearest in size."""
    if not lesson.audio_s or source_bytes <= 0:
        return None
    size = source_bytes.bit_length()
    nearest = min(lesson.audio_s, key=lambda other: (abs(other - size), other))
    return lesson.audio_s[nearest] * source_bytes


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(known) if known else None
