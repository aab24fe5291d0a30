"""Which language is spoken: votes of several places of a recording, weighed against what the job says."""

from collections.abc import Sequence

import msgspec

from contracts.transcript import Region

SAMPLE_S = 10.0
"""Length of the pieces that are listened to: Whisper is as sure of a language after 10 s as after 30 s."""
MAX_SAMPLES = 5
OVERRULE_PROBABILITY = 0.8
OVERRULE_S = 5.0
SWITCH_PROBABILITY = 0.6
SWITCH_S = 1.5


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What Whisper takes a piece of speech for: a probability for each language code."""

    seconds: float
    probabilities: dict[str, float]

    @property
    def best(self) -> str:
        """The likeliest language."""
        return max(self.probabilities, key=lambda code: self.probabilities[code])


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The language of a recording, and whether it is the job's `hint` or was `detected`."""

    language: str
    probability: float
    source: str


def samples(regions: Sequence[Region]) -> list[list[Region]]:
    """Up to five pieces of up to 10 s of speech, spread evenly over the recording.

    The short piece that is left at the end is heard only where it is all there is.
    """
    pieces: list[list[Region]] = []
    room = 0.0
    for region in regions:
        start = region.start
        while start < region.end:
            if room <= 0.0:
                pieces.append([])
                room = SAMPLE_S
            end = min(region.end, round(start + room, 3))
            pieces[-1].append(Region(start, end))
            room = round(room - (end - start), 3)
            start = end
    if len(pieces) > 1 and room > SAMPLE_S / 2:
        pieces.pop()
    if len(pieces) <= MAX_SAMPLES:
        return pieces
    return [pieces[int((n + 0.5) * len(pieces) / MAX_SAMPLES)] for n in range(MAX_SAMPLES)]


def decide(heard: Sequence[Heard], hint: str | None) -> Verdict:
    """The mean of the votes, by seconds heard. A hint stands unless another language is heard clearly, for 5 s or more.

    `heard` must not be empty.
    """
    total = sum(vote.seconds for vote in heard)
    mean: dict[str, float] = {}
    for vote in heard:
        for code, probability in vote.probabilities.items():
            mean[code] = mean.get(code, 0.0) + probability * vote.seconds / total
    best = max(mean, key=lambda code: mean[code])
    overruled = mean[best] >= OVERRULE_PROBABILITY and total >= OVERRULE_S
    if hint is None or (hint != best and overruled):
        return Verdict(language=best, probability=round(mean[best], 4), source="detected")
    return Verdict(language=hint, probability=round(mean.get(hint, 0.0), 4), source="hint")


def switches(heard: Sequence[Heard], fallback: str) -> list[str]:
    """The language of each of a row of regions: its own where that is clear, else that of the one before.

    Regions before the first clear one take its language; `fallback` where none is clear.
    """
    clear = [
        vote.best if vote.seconds >= SWITCH_S and vote.probabilities[vote.best] >= SWITCH_PROBABILITY else None
        for vote in heard
    ]
    current = next((code for code in clear if code is not None), fallback)
    languages = []
    for code in clear:
        current = code or current
        languages.append(current)
    return languages
