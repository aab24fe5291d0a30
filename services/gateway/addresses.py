"""The address of a recording that a job gives instead of the recording: its form is judged here, and no more.

Where it leads is for the fetcher to find out: nothing of ours looks it up or connects before (docs/adr/0008).
"""

from contracts import addresses
from contracts.addresses import Address, Forbidden, Malformed, Rules
from services.gateway.problems import Problem

FIELD = "source_url"


def accepted(text: str, rules: Rules) -> Address:
    """The address in its one form. Raises Problem."""
    if not rules.enabled:
        raise Problem(
            400, "addresses_off", "This server does not fetch recordings. Upload the file instead.", field=FIELD
        )
    try:
        address = addresses.parse(text)
        addresses.check(address, rules)
    except Malformed as error:
        raise Problem(400, "invalid_address", str(error), field=FIELD) from None
    except Forbidden as error:
        raise Problem(
            400,
            "address_forbidden",
            f"This server does not fetch from there ({error}). Give an address that anybody in the internet can open.",
            field=FIELD,
        ) from None
    return address
