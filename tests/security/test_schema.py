"""A short run of the generated requests; `make security` makes the long one, as every kind of caller."""

from tests.security.schema import QUICK_PHASES, folder_of_servers, made, served


async def test_generated_requests_of_an_owner_are_answered_as_documented() -> None:
    async with folder_of_servers() as folder, served(folder) as (gateway, passes):
        (owner,) = [one for one in passes if one.name == "owner"]
        outcome = await made(owner, gateway, folder / "owner", seed=4, examples=1, phases=QUICK_PHASES)

    assert not outcome.objections, outcome.output
    assert outcome.requests > 500, outcome.summary
