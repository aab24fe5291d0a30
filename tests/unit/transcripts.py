"""Transcripts for tests: written out by hand, or any at all."""

from hypothesis import strategies as st

from contracts.transcript import Segment, Turn, Word

SPEAKERS = ["Speaker 1", "Speaker 2", "Speaker 3"]

_LETTERS = st.characters(exclude_categories=("C", "Z"))
_TEXTS = st.one_of(
    st.text(_LETTERS, min_size=1, max_size=12).map(lambda text: f" {text}"),
    st.text(_LETTERS, min_size=1, max_size=3),
    st.sampled_from(
        [" and", " yes.", " no,", " well?", "字", "です。", " -->", " <b>", " &amp;", " 7", " " + "x" * 60, " "]
    ),
)
_LENGTHS = st.one_of(st.just(0.0), st.floats(0, 1.5), st.floats(0, 40))


@st.composite
def words(draw: st.DrawFn, speakers: bool = False) -> list[Word]:
    """Words in order of their start; some last no time, some stand at the same time, some overlap the next."""
    made: list[Word] = []
    at = 0.0
    for text in draw(st.lists(_TEXTS, max_size=60)):
        at += draw(_LENGTHS)
        speaker = draw(st.sampled_from([*SPEAKERS, None])) if speakers and draw(st.booleans()) else None
        made.append(Word(word=text, start=at, end=at + draw(_LENGTHS), probability=0.5, speaker=speaker))
    return made


@st.composite
def transcripts(draw: st.DrawFn, speakers: bool = False) -> list[Segment]:
    """Segments of such words."""
    left = draw(words(speakers=speakers))
    made: list[Segment] = []
    while left:
        size = draw(st.integers(1, 20))
        made.append(segment(left[:size], len(made)))
        left = left[size:]
    return made


@st.composite
def turns(draw: st.DrawFn) -> list[Turn]:
    """Turns in any order, overlapping as they like."""
    spans = draw(st.lists(st.tuples(st.floats(0, 60), st.floats(0.01, 20), st.sampled_from(SPEAKERS)), max_size=12))
    return [Turn(start=start, end=start + length, speaker=speaker) for start, length, speaker in spans]


def segment(said: list[Word], number: int = 0) -> Segment:
    """A segment of words."""
    text = "".join(word.word for word in said)
    return Segment(id=number, start=said[0].start, end=max(word.end for word in said), text=text, words=said)


def spoken(text: str, *, start: float = 0.0, word_s: float = 0.3, speaker: str | None = None) -> list[Word]:
    """Words without a pause. A word that is an ellipsis and a number ("…2") is a pause of so many seconds."""
    made: list[Word] = []
    for piece in text.split():
        if piece.startswith("…"):
            start += float(piece[1:])
            continue
        end = round(start + word_s, 3)
        made.append(Word(word=f" {piece}", start=start, end=end, probability=0.9, speaker=speaker))
        start = end
    return made


def bare(text: str) -> str:
    """Text without its spaces."""
    return "".join(text.split())
