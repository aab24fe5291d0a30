import { defaultRangeExtractor, useWindowVirtualizer } from "@tanstack/react-virtual";
import {
  type FocusEvent,
  type FormEvent,
  forwardRef,
  type KeyboardEvent,
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
import { TEXT_MAX } from "./edits";
import { DOUBTFUL, type Hit, type Paragraph, paragraphOf, type Transcript, type Word, wordAt } from "./paragraphs";
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
  /** Told of another text in the place of a word, as it is typed, where words may be corrected. */
  onWord: ((word: number, text: string, more: boolean) => void) | null;
}

/** The paragraphs that are in sight. The lit word is moved by hand: React draws nothing while it plays. */
export const Rows = forwardRef<RowsHandle, RowsProps>(function Rows(props, ref) {
  const { transcript, paragraphs, speakers, hits, hit, playback, following, onAway, onWord } = props;
  const list = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [printing, setPrinting] = useState(false);
  const [marked, setMarked] = useState(-1);
  /** The word that the keyboard is at, and the one that is typed over; -1: none. */
  const [cursor, setCursor] = useState(-1);
  const [open, setOpen] = useState(-1);
  const wantsFocus = useRef(false);
  const begun = useRef(false);
  const editing = onWord !== null;
  const held = paragraphOf(paragraphs, open >= 0 ? open : cursor);
  const virtual = useWindowVirtualizer({
    count: paragraphs.length,
    estimateSize: () => LIKELY_ROW_PX,
    overscan: 6,
    scrollMargin: top,
    getItemKey: (n) => paragraphs[n]?.first ?? n,
    rangeExtractor(range) {
      const rows = defaultRangeExtractor(range);
      // What has the focus stays, however far it is scrolled away.
      return !editing || held < 0 || rows.includes(held) ? rows : [...rows, held].sort((a, b) => a - b);
    },
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

  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    const word = open >= 0 ? open : cursor;
    const element = list.current?.querySelector<HTMLElement>(open >= 0 ? `[data-e="${word}"]` : `[data-w="${word}"]`);
    if (!element) return; // its row is not there yet: it comes with the scrolling
    wantsFocus.current = false;
    element.focus({ preventScroll: true });
    if (element instanceof HTMLInputElement) element.select();
  });

  const clicked = (event: MouseEvent) => {
    const element = (event.target as Element).closest<HTMLElement>("[data-w]");
    if (!element || getSelection()?.isCollapsed === false) return;
    const n = Number(element.dataset.w);
    const word = transcript.words[n];
    if (word) playback.seek(word.start);
    if (word && editing) type(n);
  };

  const type = (word: number) => {
    wantsFocus.current = true;
    begun.current = false;
    setCursor(word);
    setOpen(word);
  };
  const go = (word: number) => {
    if (word < 0) return;
    wantsFocus.current = true;
    setOpen(-1);
    setCursor(word);
    if (!list.current?.querySelector(`[data-w="${word}"], [data-e="${word}"]`)) reveal(word);
  };
  /** The word so many further on, among those that are shown. */
  const beside = (word: number, step: 1 | -1): number => {
    const row = paragraphOf(paragraphs, word);
    const paragraph = paragraphs[row];
    if (!paragraph) return -1;
    const next = word + step;
    if (paragraph.first <= next && next < paragraph.end) return next;
    const other = paragraphs[row + step];
    return other ? (step > 0 ? other.first : other.end - 1) : -1;
  };

  const typed = (event: KeyboardEvent, field: HTMLInputElement) => {
    const word = Number(field.dataset.e);
    if (event.key === "Enter") go(word);
    else if (event.key === "Escape") {
      if (begun.current) onWord?.(word, field.defaultValue, true);
      go(word);
    } else if (event.key === "Tab") {
      const next = beside(word, event.shiftKey ? -1 : 1);
      if (next < 0) return;
      type(next);
    } else return;
    event.preventDefault();
  };
  const pressed = (event: KeyboardEvent) => {
    if (!editing || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (target instanceof HTMLInputElement && target.dataset.e !== undefined) return typed(event, target);
    if (target.dataset.w === undefined) return;
    const word = Number(target.dataset.w);
    const row = paragraphOf(paragraphs, word);
    if (event.key === "Enter" || event.key === " " || event.key === "F2") type(word);
    else if (event.key === "Delete" || event.key === "Backspace") onWord(word, "", false);
    else if (event.key === "ArrowRight") go(beside(word, 1));
    else if (event.key === "ArrowLeft") go(beside(word, -1));
    else if (event.key === "ArrowDown") go(paragraphs[row + 1]?.first ?? -1);
    else if (event.key === "ArrowUp") go(paragraphs[row - 1]?.first ?? -1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // none of the player's
  };
  const entered = ({ target }: FormEvent) => {
    if (!(target instanceof HTMLInputElement) || target.dataset.e === undefined) return;
    onWord?.(Number(target.dataset.e), target.value, begun.current);
    begun.current = true;
  };
  const left = ({ target }: FocusEvent) => {
    if (!(target instanceof HTMLInputElement) || target.dataset.e === undefined) return;
    const word = Number(target.dataset.e);
    setOpen((now) => (now === word ? -1 : now));
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
        marked={within(paragraph, marked)}
        editing={editing}
        cursor={within(paragraph, cursor)}
        open={editing ? within(paragraph, open) : -1}
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
    // eslint-disable-next-line jsx-a11y/no-static-element-interactions -- what is pressed are the words in it; where they are not corrected, the times of paragraphs and the keys of the player do the same
    <div
      className={editing ? "rows editing" : "rows"}
      ref={list}
      style={{ height: virtual.getTotalSize() }}
      onClick={clicked}
      onKeyDown={pressed}
      onInput={entered}
      onBlur={left}
    >
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

const within = ({ first, end }: Paragraph, word: number): number => (first <= word && word < end ? word : -1);

interface RowProps {
  paragraph: Paragraph;
  transcript: Transcript;
  colour: string;
  name: string | null;
  hits: readonly Hit[];
  hit: Hit | null;
  marked: number;
  editing: boolean;
  cursor: number;
  open: number;
  seek: (seconds: number) => void;
}

const Row = memo(function Row(props: RowProps) {
  const { paragraph, transcript, colour, name, hits, hit, marked, editing, cursor, open, seek } = props;
  const reached = cursor >= 0 ? cursor : paragraph.first;
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
          const removed = word.text === "" && word.was !== undefined;
          const shown = removed && editing ? (word.was ?? "") : word.text;
          const spaced = shown.length - shown.trimStart().length;
          const said = shown.slice(spaced);
          return (
            <span key={n}>
              {shown.slice(0, spaced)}
              {n === open ? (
                <WordField n={n} text={word.text.trim()} was={(word.was ?? word.text).trim()} />
              ) : (
                <span
                  data-w={n}
                  className={classOf(n, word, hits, hit, marked)}
                  {...(editing && { role: "button", tabIndex: n === reached ? 0 : -1 })}
                  aria-label={removed && editing ? strings.corrections.removed(said) : undefined}
                >
                  {said}
                </span>
              )}
            </span>
          );
        })}
      </p>
    </div>
  );
}, sameRow);

function WordField({ n, text: now, was }: { n: number; text: string; was: string }) {
  const [begun] = useState(now); // what Escape goes back to
  return (
    <input
      data-e={n}
      className="word-field"
      aria-label={strings.corrections.word(was)}
      defaultValue={begun}
      maxLength={TEXT_MAX}
      size={Math.max(3, now.length + 1)}
      autoComplete="off"
      spellCheck
    />
  );
}

/** Lists of hits are made anew with each search; what counts is what is in them. */
function sameRow(a: RowProps, b: RowProps): boolean {
  return (
    a.paragraph === b.paragraph &&
    a.transcript === b.transcript &&
    a.colour === b.colour &&
    a.hit === b.hit &&
    a.marked === b.marked &&
    a.editing === b.editing &&
    a.cursor === b.cursor &&
    a.open === b.open &&
    a.hits.length === b.hits.length &&
    a.hits.every((one, n) => one.first === b.hits[n]?.first && one.end === b.hits[n]?.end)
  );
}

function classOf(
  n: number,
  { probability, text: said, was }: Word,
  hits: readonly Hit[],
  hit: Hit | null,
  marked: number,
): string | undefined {
  const classes = [];
  if (probability < DOUBTFUL) classes.push("doubt");
  if (was !== undefined) classes.push(said === "" ? "removed" : "corrected");
  if (n === marked) classes.push("marked");
  if (hit && hit.first <= n && n < hit.end) classes.push("hit", "this");
  else if (hits.some((one) => one.first <= n && n < one.end)) classes.push("hit");
  return classes.length ? classes.join(" ") : undefined;
}
