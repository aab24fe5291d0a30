"""Comes last of all: what the other tests of this folder broke has left nothing behind."""

from tests.chaos import evidence, invariants
from tests.chaos.conftest import Patient
from tests.integration.conftest import until


async def test_after_all_of_this_every_invariant_holds(patient: Patient) -> None:
    cluster = patient.cluster
    await patient.quiet()

    async def nothing_wrong() -> bool:
        known = await evidence.gather(patient.client, cluster.postgres.url, cluster.artifacts)
        found.append(invariants.verdict(known, [], young_s=cluster.numbers.abandoned_s).sentences)
        return not found[-1]

    found: list[list[str]] = []
    try:
        await until(nothing_wrong, 20)
    except TimeoutError:
        raise AssertionError(found[-1:]) from None
