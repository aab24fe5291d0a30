/**
 * A transcript as paragraphs of words, made for finding and for showing: every word has one number in all of it.
 * Pure. Corrections that are not saved yet are made of this (`edits.ts`).
 */
import type { Segment, Turn } from "../../generated/messages";

export interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  readonly probability: number;
  /** As it is saved, where it was corrected since. */
  readonly was?: string;
}

export interface Paragraph {
  /** Number of its first word, and the one after its last. */
  readonly first: number;
  readonly end: number;
  readonly speaker: string | null;
  readonly start: number;
}

export interface Transcript {
  readonly words: readonly Word[];
  readonly paragraphs: readonly Paragraph[];
  readonly doubtful: readonly number[];
}

/** Below this a word is likely enough wrong to be looked at. */
export const DOUBTFUL = 0.4;
const WORDS_WANTED = 45;
const WORDS_MAX = 110;
const PAUSE_S = 3;
const SENTENCE_END = /[.?!…。？！]["”’)]?\s*$/;

export function transcriptOf(segments: readonly Segment[]): Transcript {
  const words: Word[] = [];
  const paragraphs: { first: number; end: number; speaker: string | null; start: number }[] = [];
  const doubtful: number[] = [];
  for (const segment of segments) {
    const said = segment.words?.length
      ? segment.words
      : [{ word: segment.text, start: segment.start, end: segment.end, probability: 1, speaker: null }];
    for (const { word, start, end, probability, speaker: of } of said) {
      const speaker = of ?? segment.speaker ?? null;
      const open = paragraphs.at(-1);
      const before = words.at(-1);
      if (!open || !before || open.speaker !== speaker || isBreak(open.end - open.first, before, start)) {
        paragraphs.push({ first: words.length, end: words.length, speaker, start });
      }
      if (probability < DOUBTFUL) doubtful.push(words.length);
      words.push({ text: word, start, end, probability });
      const current = paragraphs.at(-1);
      if (current) current.end = words.length;
    }
  }
  return { words, paragraphs, doubtful };
}

/** The word that is said at a time, or was last; -1 before the first. */
export function wordAt(words: readonly Word[], seconds: number): number {
  return lastUpTo(words.length, (n) => (words[n] as Word).start <= seconds);
}

/** The paragraph that a word stands in, among those given. */
export function paragraphOf(paragraphs: readonly Paragraph[], word: number): number {
  const found = lastUpTo(paragraphs.length, (n) => (paragraphs[n] as Paragraph).first <= word);
  const paragraph = paragraphs[found];
  return paragraph && word < paragraph.end ? found : -1;
}

export interface Hit {
  /** Numbers of the first word that it touches, and the one after the last. */
  readonly first: number;
  readonly end: number;
}

/** Where a text is said, over the bounds of words, whatever the case. */
export function hitsOf(words: readonly Word[], wanted: string): Hit[] {
  const needle = plain(wanted).trim();
  if (!needle) return [];
  const starts: number[] = [];
  let all = "";
  for (const { text } of words) {
    starts.push(all.length);
    all += plain(text);
  }
  const hits: Hit[] = [];
  const wordOf = (at: number) => lastUpTo(starts.length, (n) => (starts[n] as number) <= at);
  for (let at = all.indexOf(needle); at >= 0; at = all.indexOf(needle, at + needle.length)) {
    hits.push({ first: wordOf(at), end: wordOf(at + needle.length - 1) + 1 });
  }
  return hits;
}

/** Seconds that each speaker talks, in the order of the speakers. */
export function talkTimes(speakers: readonly string[], turns: readonly Turn[]): number[] {
  const seconds = new Map<string, number>();
  for (const { speaker, start, end } of turns) seconds.set(speaker, (seconds.get(speaker) ?? 0) + end - start);
  return speakers.map((speaker) => seconds.get(speaker) ?? 0);
}

export function textOf({ words }: Transcript, paragraphs: readonly Paragraph[]): string {
  return paragraphs
    .map(({ first, end, speaker }) => {
      const said = words.slice(first, end).map(({ text }) => text);
      return `${speaker ? `${speaker}: ` : ""}${said.join("").trim()}`;
    })
    .join("\n\n");
}

function plain(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/\s+/g, " ");
}

function isBreak(count: number, before: Word, start: number): boolean {
  if (count >= WORDS_MAX || start - before.end > PAUSE_S) return true;
  return count >= WORDS_WANTED && SENTENCE_END.test(before.text);
}

/** The last number below `count` that holds, where all that hold come first; -1 where none does. */
function lastUpTo(count: number, holds: (n: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
