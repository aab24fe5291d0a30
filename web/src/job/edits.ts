/**
 * Corrections of a transcript that are not saved yet: what they are, how they look, how they are taken back. Pure.
 *
 * Words go by the numbers and speakers by the names that they have in the version that is corrected.
 */
import type { Result } from "../api";
import type { Paragraph, Transcript } from "./paragraphs";

export type Names = ReadonlyMap<string, string>;

type Step =
  | { readonly word: number; readonly from: string | null; readonly to: string | null }
  | { readonly from: Names; readonly to: Names };

export interface Edits {
  /** What is to stand in the place of a word; nothing removes it. */
  readonly words: ReadonlyMap<number, string>;
  readonly names: Names;
  readonly steps: readonly Step[];
  /** Taken back, the latest last. */
  readonly undone: readonly Step[];
}

export interface Correction {
  based_on: number;
  words?: { word: number; text: string }[];
  speakers?: Record<string, string>;
  restore?: number;
}

export const TEXT_MAX = 200;
export const NAME_MAX = 80;
export const NO_EDITS: Edits = { words: new Map(), names: new Map(), steps: [], undone: [] };

export const countOf = ({ words, names }: Edits): number => words.size + names.size;

/** Another text in the place of a word; `more` of what was typed there just now is no step of its own. */
export function withWord(edits: Edits, { words }: Transcript, word: number, text: string, more = false): Edits {
  const saved = words[word]?.text.trim();
  const wanted = cut(text, TEXT_MAX);
  if (saved === undefined || wanted === (edits.words.get(word) ?? saved)) return edits;
  const to = wanted === saved ? null : wanted;
  const last = edits.steps.at(-1);
  if (!more || !last || !("word" in last) || last.word !== word) {
    return stepped(edits, { word, from: edits.words.get(word) ?? null, to });
  }
  const before = { ...edits, steps: edits.steps.slice(0, -1) };
  return to === last.from ? done(before, last, "from") : stepped(before, { ...last, to });
}

/** Another name for everything that is shown under one. */
export function withName(edits: Edits, speakers: readonly string[], shown: string, name: string): Edits {
  const wanted = cut(name, NAME_MAX);
  if (wanted === "" || wanted === shown) return edits;
  const to = new Map(edits.names);
  for (const speaker of speakers) {
    if (nameOf(edits, speaker) !== shown) continue;
    if (speaker === wanted) to.delete(speaker);
    else to.set(speaker, wanted);
  }
  return stepped(edits, { from: edits.names, to });
}

export function undo(edits: Edits): Edits {
  const step = edits.steps.at(-1);
  if (!step) return edits;
  return { ...done(edits, step, "from"), steps: edits.steps.slice(0, -1), undone: [...edits.undone, step] };
}

export function redo(edits: Edits): Edits {
  const step = edits.undone.at(-1);
  if (!step) return edits;
  return { ...done(edits, step, "to"), steps: [...edits.steps, step], undone: edits.undone.slice(0, -1) };
}

export function requestOf({ words, names }: Edits, version: number): Correction {
  return {
    based_on: version,
    words: [...words].map(([word, text]) => ({ word, text })),
    speakers: Object.fromEntries(names),
  };
}

/** The transcript as it will be. A word that is removed keeps its place until it is saved, and knows what it was. */
export function corrected(transcript: Transcript, edits: Edits): Transcript {
  if (countOf(edits) === 0) return transcript;
  const words = edits.words.size ? [...transcript.words] : transcript.words;
  for (const [n, text] of edits.words) {
    const word = transcript.words[n];
    if (!word) continue;
    const lead = word.text.slice(0, word.text.length - word.text.trimStart().length);
    (words as (typeof word)[])[n] = { ...word, text: text && lead + text, probability: 1, was: word.text };
  }
  const paragraphs = edits.names.size ? transcript.paragraphs.map((one) => renamed(one, edits)) : transcript.paragraphs;
  return { words, paragraphs, doubtful: transcript.doubtful.filter((n) => !edits.words.has(n)) };
}

/** Who speaks, as it will be. */
export function renamedResult(result: Result, edits: Edits): Result {
  if (edits.names.size === 0) return result;
  return {
    ...result,
    speakers: [...new Set(result.speakers.map((speaker) => nameOf(edits, speaker)))],
    turns: result.turns.map((turn) => ({ ...turn, speaker: nameOf(edits, turn.speaker) })),
  };
}

export interface Rebased {
  readonly edits: Edits;
  /** Corrections of what somebody else has corrected meanwhile. */
  readonly lost: number;
}

/** The same corrections of a later version: of the words and names that are in it as they were. */
export function rebased(edits: Edits, before: Transcript, after: Transcript, speakers: readonly string[]): Rebased {
  const places = new Map(after.words.map(({ start, text }, n) => [`${start} ${text}`, n]));
  let moved = NO_EDITS;
  for (const [n, text] of edits.words) {
    const word = before.words[n];
    const place = word && places.get(`${word.start} ${word.text}`);
    if (place !== undefined) moved = withWord(moved, after, place, text);
  }
  for (const [speaker, name] of edits.names) {
    if (speakers.includes(speaker)) {
      moved = stepped(moved, { from: moved.names, to: new Map(moved.names).set(speaker, name) });
    }
  }
  return { edits: moved, lost: countOf(edits) - countOf(moved) };
}

const nameOf = ({ names }: Edits, speaker: string): string => names.get(speaker) ?? speaker;

const renamed = (paragraph: Paragraph, edits: Edits): Paragraph =>
  paragraph.speaker !== null && edits.names.has(paragraph.speaker)
    ? { ...paragraph, speaker: nameOf(edits, paragraph.speaker) }
    : paragraph;

/** As the server counts: by characters, not by halves of them. */
const cut = (text: string, most: number): string =>
  [...text.replace(/\s+/g, " ").trim()].slice(0, most).join("").trim();

function stepped(edits: Edits, step: Step): Edits {
  return { ...done(edits, step, "to"), steps: [...edits.steps, step], undone: [] };
}

function done(edits: Edits, step: Step, side: "from" | "to"): Edits {
  if (!("word" in step)) return { ...edits, names: step[side] };
  const words = new Map(edits.words);
  const text = step[side];
  if (text === null) words.delete(step.word);
  else words.set(step.word, text);
  return { ...edits, words };
}
