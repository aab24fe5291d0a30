"""What a step that failed for good means for its job: the job fails, or goes on with less."""

from contracts import facts


def of_failure(woken_by: facts.AnyFact, failed: facts.JobFailed) -> facts.AnyFact:
    """The fact to publish where a stage gave up: `failed`, unless the job can do without what the stage would give.

    Captions without speakers are worth more than none, so a failed diarization is no failed job unless the job is
    `strict`. A failed export of a correction fails that version, and the one before it stays.
    """
    if isinstance(woken_by, facts.TranscriptEdited):
        return facts.VersionExported(
            job_id=failed.job_id,
            run=failed.run,
            owner=failed.owner,
            at=failed.at,
            n=woken_by.n,
            results={},
            speakers=0,
            words=0,
            receipt=facts.StageReceipt(engine="", seconds=0.0, attempts=failed.attempts, skipped=True),
            failed=failed.code,
            reference=failed.reference,
        )
    if failed.stage != "diarizer" or not isinstance(woken_by, facts.AudioExtracted) or woken_by.parameters.strict:
        return failed
    return facts.SpeakersDiarized(
        job_id=failed.job_id,
        run=failed.run,
        owner=failed.owner,
        at=failed.at,
        turns=None,
        speakers=0,
        receipt=facts.StageReceipt(engine="", seconds=0.0, attempts=failed.attempts, skipped=True),
        failed=failed.code,
        reference=failed.reference,
    )
