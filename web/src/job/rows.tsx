import { useWindowVirtualizer } from "@tanstack/react-virtual";
import {
  forwardRef,
  memo,
  type MouseEvent,
  useEffect,
  useImperativeHandle,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { flushSync } from "react-dom";
import { formatClock } from "../format";
import { strings } from "../strings";
import { DOUBTFUL, type Hit, type Paragraph, paragraphOf, type Transcript, wordAt } from "./paragraphs";
import type { Playback } from "./playback";
import { colourOf } from "./speakers";

const text = strings.transcript;
const LIKELY_ROW_PX = 116;

export interface RowsHandle {
  /** Scroll to a word. */
  reveal(word: number): void;
  /** Scroll to a word and point at it. */
  mark(word: number): void;
  readonly marked: number;
}

interface RowsProps {
  transcript: Transcript;
  paragraphs: Paragraph[];
  speakers: readonly string[];
  hits: readonly Hit[];
  hit: Hit | null;
  playback: Playback;
  following: boolean;
  onAway: () => void;
}

/** The paragraphs that are in sight. The lit word is moved by hand: React draws nothing while it plays. */
export const Rows = forwardRef<RowsHandle, RowsProps>(function Rows(props, ref) {
  const { transcript, paragraphs, speakers, hits, hit, playback, following, onAway } = props;
  const list = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [printing, setPrinting] = useState(false);
  const [marked, setMarked] = useState(-1);
  const virtual = useWindowVirtualizer({
    count: paragraphs.length,
    estimateSize: () => LIKELY_ROW_PX,
    overscan: 6,
    scrollMargin: top,
    getItemKey: (n) => paragraphs[n]?.first ?? n,
  });

  useLayoutEffect(() => {
    const measure = () => setTop((list.current?.getBoundingClientRect().top ?? 0) + scrollY);
    measure();
    const sized = new ResizeObserver(measure);
    sized.observe(document.body);
    return () => sized.disconnect();
  }, []);

  const reveal = (word: number) => {
    const row = paragraphOf(paragraphs, word);
    if (row >= 0) virtual.scrollToIndex(row, { align: "center" });
  };
  useImperativeHandle(ref, () => ({
    reveal,
    mark(word) {
      setMarked(word);
      reveal(word);
    },
    marked,
  }));

  useEffect(() => {
    let lit: Element | null = null;
    let before = -1;
    let row = -1;
    const light = (seconds: number) => {
      const word = wordAt(transcript.words, seconds);
      if (word === before && lit?.isConnected) return;
      lit?.classList.remove("now");
      lit = list.current?.querySelector(`[data-w="${word}"]`) ?? null;
      lit?.classList.add("now");
      before = word;
      const current = paragraphOf(paragraphs, word);
      if (following && current >= 0 && current !== row) virtual.scrollToIndex(current, { align: "center" });
      row = current;
    };
    if (playback.at() > 0) light(playback.at());
    return playback.listen(light);
  }, [transcript, paragraphs, playback, following, virtual]);

  useEffect(() => {
    const away = () => onAway();
    addEventListener("wheel", away, { passive: true });
    addEventListener("touchmove", away, { passive: true });
    return () => {
      removeEventListener("wheel", away);
      removeEventListener("touchmove", away);
    };
  }, [onAway]);

  useEffect(() => {
    const all = () => flushSync(() => setPrinting(true));
    const some = () => setPrinting(false);
    playback.onPrint(all);
    addEventListener("beforeprint", all);
    addEventListener("afterprint", some);
    return () => {
      playback.onPrint(null);
      removeEventListener("beforeprint", all);
      removeEventListener("afterprint", some);
    };
  }, [playback]);

  const clicked = (event: MouseEvent) => {
    const element = (event.target as Element).closest<HTMLElement>("[data-w]");
    if (!element || getSelection()?.isCollapsed === false) return;
    const word = transcript.words[Number(element.dataset.w)];
    if (word) playback.seek(word.start);
  };

  const row = (n: number) => {
    const paragraph = paragraphs[n] as Paragraph;
    const touching = hits.length ? hits.filter((one) => one.first < paragraph.end && one.end > paragraph.first) : NONE;
    const has = hit && hit.first < paragraph.end && hit.end > paragraph.first;
    return (
      <Row
        paragraph={paragraph}
        transcript={transcript}
        colour={colourOf(speakers, paragraph.speaker)}
        name={paragraph.speaker}
        hits={touching.length ? touching : NONE}
        hit={has ? hit : null}
        marked={paragraph.first <= marked && marked < paragraph.end ? marked : -1}
        seek={playback.seek}
      />
    );
  };

  if (printing) {
    return (
      <div className="rows printed" ref={list}>
        {paragraphs.map(({ first }, n) => (
          <div key={first}>{row(n)}</div>
        ))}
      </div>
    );
  }
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-static-element-interactions -- by keyboard, the times of paragraphs and the keys of the player do the same
    <div className="rows" ref={list} style={{ height: virtual.getTotalSize() }} onClick={clicked}>
      {virtual.getVirtualItems().map(({ index, key, start }) => (
        <div
          key={key}
          ref={virtual.measureElement}
          data-index={index}
          className="row"
          style={{ transform: `translateY(${start - top}px)` }}
        >
          {row(index)}
        </div>
      ))}
    </div>
  );
});

const NONE: readonly Hit[] = [];

interface RowProps {
  paragraph: Paragraph;
  transcript: Transcript;
  colour: string;
  name: string | null;
  hits: readonly Hit[];
  hit: Hit | null;
  marked: number;
  seek: (seconds: number) => void;
}

const Row = memo(function Row({ paragraph, transcript, colour, name, hits, hit, marked, seek }: RowProps) {
  const numbers = Array.from({ length: paragraph.end - paragraph.first }, (_, n) => paragraph.first + n);
  const time = formatClock(paragraph.start);
  return (
    <div className={`paragraph ${colour}`}>
      <p className="who">
        {name !== null && <span className="speaker-name">{name}</span>}
        <button
          type="button"
          className="time numbers"
          aria-label={text.from(time)}
          onClick={() => seek(paragraph.start)}
        >
          {time}
        </button>
      </p>
      <p className="said">
        {numbers.map((n) => {
          const word = transcript.words[n];
          if (!word) return null;
          const spaced = word.text.length - word.text.trimStart().length;
          return (
            <span key={n}>
              {word.text.slice(0, spaced)}
              <span data-w={n} className={classOf(n, word.probability, hits, hit, marked)}>
                {word.text.slice(spaced)}
              </span>
            </span>
          );
        })}
      </p>
    </div>
  );
}, sameRow);

/** Lists of hits are made anew with each search; what counts is what is in them. */
function sameRow(a: RowProps, b: RowProps): boolean {
  return (
    a.paragraph === b.paragraph &&
    a.transcript === b.transcript &&
    a.colour === b.colour &&
    a.hit === b.hit &&
    a.marked === b.marked &&
    a.hits.length === b.hits.length &&
    a.hits.every((one, n) => one.first === b.hits[n]?.first && one.end === b.hits[n]?.end)
  );
}

function classOf(
  n: number,
  probability: number,
  hits: readonly Hit[],
  hit: Hit | null,
  marked: number,
): string | undefined {
  const classes = [];
  if (probability < DOUBTFUL) classes.push("doubt");
  if (n === marked) classes.push("marked");
  if (hit && hit.first <= n && n < hit.end) classes.push("hit", "this");
  else if (hits.some((one) => one.first <= n && n < one.end)) classes.push("hit");
  return classes.length ? classes.join(" ") : undefined;
}
