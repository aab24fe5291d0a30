import { describe, expect, it } from "vitest";
import type { Segment } from "../generated/messages";
import {
  corrected,
  countOf,
  type Edits,
  NAME_MAX,
  NO_EDITS,
  rebased,
  redo,
  renamedResult,
  requestOf,
  TEXT_MAX,
  undo,
  withName,
  withWord,
} from "../src/job/edits";
import { textOf, transcriptOf } from "../src/job/paragraphs";

let at = 0;
const said = (speaker: string, text: string): Segment => {
  const words = text.split(" ").map((word) => ({ word: ` ${word}`, start: at++, end: at, probability: 0.1, speaker }));
  return { id: 0, start: 0, end: at, text, speaker, words };
};
const transcript = (...texts: [string, string][]) => {
  at = 0;
  return transcriptOf(texts.map(([speaker, text]) => said(speaker, text)));
};
const heard = transcript(["A", "Helo there."], ["B", "Hi Bob!"]);
const SPEAKERS = ["A", "B"];
const shown = (edits: Edits, of = heard) => {
  const now = corrected(of, edits);
  return textOf(now, now.paragraphs);
};

describe("corrections that are not saved yet", () => {
  it("stand where the word stood", () => {
    const edits = withWord(NO_EDITS, heard, 0, "  Hello   my ");
    expect(shown(edits)).toBe("A: Hello my there.\n\nB: Hi Bob!");
    const now = corrected(heard, edits);
    expect(now.words[0]).toMatchObject({ start: 0, end: 1, probability: 1, was: " Helo" });
    expect(now.doubtful).toEqual([1, 2, 3]);
    expect(now.paragraphs).toBe(heard.paragraphs);
    expect(requestOf(edits, 4)).toEqual({ based_on: 4, words: [{ word: 0, text: "Hello my" }], speakers: {} });
  });

  it("remove a word, which keeps its number", () => {
    const edits = withWord(NO_EDITS, heard, 1, " ");
    expect(shown(edits)).toBe("A: Helo\n\nB: Hi Bob!");
    expect(corrected(heard, edits).words).toHaveLength(4);
    expect(requestOf(edits, 0).words).toEqual([{ word: 1, text: "" }]);
  });

  it("are none where a word is as it was", () => {
    expect(withWord(NO_EDITS, heard, 0, "Helo ")).toBe(NO_EDITS);
    expect(withWord(NO_EDITS, heard, 99, "x")).toBe(NO_EDITS);
    const back = withWord(withWord(NO_EDITS, heard, 0, "Hello"), heard, 0, "Helo");
    expect(countOf(back)).toBe(0);
    expect(corrected(heard, back)).toBe(heard);
    expect(shown(undo(back))).toContain("Hello");
  });

  it("rename a speaker everywhere", () => {
    const edits = withName(NO_EDITS, SPEAKERS, "A", " Ana  Lu ");
    expect(shown(edits)).toBe("Ana Lu: Helo there.\n\nB: Hi Bob!");
    const turns = [{ speaker: "A", start: 0, end: 1 }];
    const result = { language: "en", duration: 1, segments: [], speakers: SPEAKERS, turns };
    expect(renamedResult(result, edits)).toMatchObject({ speakers: ["Ana Lu", "B"], turns: [{ speaker: "Ana Lu" }] });
    expect(renamedResult(result, NO_EDITS)).toBe(result);
    expect(requestOf(edits, 0).speakers).toEqual({ A: "Ana Lu" });
  });

  it("make two speakers one, who are then renamed together", () => {
    let edits = withName(NO_EDITS, SPEAKERS, "B", "A");
    expect(shown(edits)).toBe("A: Helo there.\n\nA: Hi Bob!");
    edits = withName(edits, SPEAKERS, "A", "Ana");
    expect(requestOf(edits, 0).speakers).toEqual({ A: "Ana", B: "Ana" });
    expect(countOf(withName(withName(NO_EDITS, SPEAKERS, "A", "Ana"), SPEAKERS, "Ana", "A"))).toBe(0);
    expect(withName(NO_EDITS, SPEAKERS, "A", " ")).toBe(NO_EDITS);
  });

  it("are taken back one by one, and made again", () => {
    const first = withWord(NO_EDITS, heard, 0, "Hello");
    const second = withName(first, SPEAKERS, "A", "Ana");
    const third = withWord(second, heard, 0, "Hey");
    const back = undo(undo(third));
    expect(shown(back)).toBe(shown(first));
    expect(shown(undo(back))).toBe(shown(NO_EDITS));
    expect(undo(undo(back))).toEqual(undo(back));
    expect(shown(redo(redo(back)))).toBe(shown(third));
    expect(redo(third)).toBe(third);
    expect(withWord(back, heard, 1, "you").undone).toEqual([]);
  });

  it("are one step as long as one word is typed", () => {
    let edits = withWord(NO_EDITS, heard, 1, "now");
    for (const [n, text] of ["", "H", "He", "Hey"].entries()) edits = withWord(edits, heard, 0, text, n > 0);
    expect(edits.steps).toHaveLength(2);
    expect(countOf(undo(edits))).toBe(1);
    const left = withWord(edits, heard, 0, "Helo", true);
    expect(left.steps).toHaveLength(1);
    expect([...left.words]).toEqual([[1, "now"]]);
  });

  it("are no longer than the server takes", () => {
    expect(withWord(NO_EDITS, heard, 0, "x".repeat(TEXT_MAX + 1)).words.get(0)).toHaveLength(TEXT_MAX);
    expect(withName(NO_EDITS, SPEAKERS, "A", "x".repeat(NAME_MAX + 1)).names.get("A")).toHaveLength(NAME_MAX);
  });

  it("go on with a later version, as far as what they correct is in it", () => {
    let edits = withWord(NO_EDITS, heard, 0, "Hello");
    edits = withWord(edits, heard, 3, "Rob!");
    edits = withName(edits, SPEAKERS, "A", "Ana");
    edits = withName(edits, SPEAKERS, "B", "Bea");
    at = 0;
    const words = [said("A", "Hallo my there."), said("Bo", "x Hi Bob!")];
    const times = [0, 0.5, 1, 1.5, 2, 3];
    let n = 0;
    for (const one of words) for (const word of one.words ?? []) word.start = times[n++] ?? 0;
    const later = transcriptOf(words);
    const moved = rebased(edits, heard, later, ["A", "Bo"]);
    expect(shown(moved.edits, later)).toBe("Ana: Hallo my there.\n\nBo: x Hi Rob!");
    expect(moved.lost).toBe(2);
    expect(rebased(edits, heard, heard, SPEAKERS).lost).toBe(0);
  });

  it("stay quick with three hours of words", () => {
    const long = transcript(["A", Array(30_000).fill("word").join(" ")]);
    let edits = NO_EDITS;
    for (let word = 0; word < 300; word++) edits = withWord(edits, long, word * 100, "other");
    expect(corrected(long, edits).words.filter(({ was }) => was !== undefined)).toHaveLength(300);
  });
});
