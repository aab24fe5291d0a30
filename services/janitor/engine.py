"""What is of no use any more: a pure function of a job's facts."""

from collections.abc import Sequence

from contracts import facts
from contracts.failures import FAILURES


def useless_uploads(known: Sequence[facts.AnyFact]) -> list[str]:
    """Keys of uploads that no retry could make anything of, given the facts of one run."""
    hopeless = any(isinstance(fact, facts.JobFailed) and not FAILURES[fact.code].retry_can_help for fact in known)
    return [fact.source.key for fact in known if isinstance(fact, facts.JobAccepted) and hopeless]
