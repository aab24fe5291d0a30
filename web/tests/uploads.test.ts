import { describe, expect, it } from "vitest";
import { NOTHING_ASKED, parametersOf, wrongOf } from "../src/uploads/asked";
import { kindOf } from "../src/uploads/kinds";
import { isSameFile, newKey, opened, Records, Speed } from "../src/uploads/records";
import { MemoryStorage } from "./examples";

const record = (key: string) => ({
  key,
  name: "talk.mp4",
  size: 9,
  lastModified: 5,
  parameters: {},
  url: null,
  sent: 0,
  paused: false,
});

describe("uploads over a reload", () => {
  it("are remembered in the order in which they came, each once", () => {
    const records = new Records(new MemoryStorage());
    for (const key of ["a", "b"]) records.put(record(key));
    records.put({ ...record("a"), sent: 4 });
    expect(records.all().map(({ key, sent }) => [key, sent])).toEqual([
      ["a", 4],
      ["b", 0],
    ]);
    records.remove("a");
    expect(records.all().map(({ key }) => key)).toEqual(["b"]);
  });

  it.each(["{", "null", "[null, 3, {}]"])("are none where %s is stored", (broken) => {
    const storage = new MemoryStorage();
    storage.setItem("subtide.uploads.1", broken);
    expect(new Records(storage).all()).toEqual([]);
  });

  it("go on with the same file only", () => {
    const file = { name: "talk.mp4", size: 9, lastModified: 5 };
    expect(isSameFile(record("a"), file)).toBe(true);
    for (const other of [{ name: "x" }, { size: 8 }, { lastModified: 6 }])
      expect(isSameFile(record("a"), { ...file, ...other })).toBe(false);
  });

  it("are named by their address", () => {
    expect(opened("/api/uploads/abc?token=t%2Bt")).toEqual({ upload_id: "abc", upload_token: "t+t" });
    expect(opened("https://example.org/api/uploads/abc?token=t")).toEqual({ upload_id: "abc", upload_token: "t" });
  });

  it("have keys that nobody guesses", () => {
    expect(new Set(Array.from({ length: 50 }, newKey)).size).toBe(50);
    expect(newKey()).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("the speed of an upload", () => {
  it("is that of the last seconds", () => {
    const speed = new Speed();
    speed.add(0, 0);
    expect(speed.bytesPerSecond).toBeNull();
    for (let second = 1; second <= 20; second += 1) speed.add(second * 1000, second < 10 ? 0 : (second - 10) * 100);
    expect(speed.bytesPerSecond).toBe(100);
  });
});

describe("the options", () => {
  it("ask for nothing by default", () => {
    expect(parametersOf(NOTHING_ASKED)).toEqual({});
  });

  it("say how many speakers, exactly or between", () => {
    expect(parametersOf({ ...NOTHING_ASKED, counting: "exact", exact: "3" })).toEqual({ num_speakers: 3 });
    expect(parametersOf({ ...NOTHING_ASKED, counting: "range", min: "2", max: "4" })).toEqual({
      min_speakers: 2,
      max_speakers: 4,
    });
    expect(parametersOf({ ...NOTHING_ASKED, counting: "exact", exact: "" })).toEqual({});
  });

  it("change no number that was given", () => {
    const asked = { ...NOTHING_ASKED, counting: "range", min: "5", max: "2" } as const;
    expect(parametersOf(asked)).toEqual({ min_speakers: 5, max_speakers: 2 });
    expect(Object.keys(wrongOf(asked))).toEqual(["max", "min"]);
  });

  it.each([
    ["base", false],
    ["large-v3", false],
    ["org.model_1", false],
    ["", false],
    ["large v3", true],
    ["../base", true],
    ["-base", true],
    ["m".repeat(65), true],
  ])("know whether the server would take the model %j", (model, wrong) => {
    expect(wrongOf({ ...NOTHING_ASKED, model }).model !== undefined).toBe(wrong);
  });

  it.each(["", "0", "51", "2.5", "-1"])("say that %j is no number of speakers", (exact) => {
    expect(wrongOf({ ...NOTHING_ASKED, counting: "exact", exact })).toHaveProperty("exact");
    expect(wrongOf({ ...NOTHING_ASKED, counting: "exact", exact, diarize: false })).toEqual({});
  });

  it("leave either bound open", () => {
    expect(wrongOf({ ...NOTHING_ASKED, counting: "range", min: "3" })).toEqual({});
    expect(wrongOf({ ...NOTHING_ASKED, counting: "range", max: "3" })).toEqual({});
  });

  it("ask for no speakers where nobody is to be named", () => {
    expect(parametersOf({ ...NOTHING_ASKED, diarize: false, counting: "exact", strict: true })).toEqual({
      diarize: false,
    });
  });

  it("name a caption preset only where it is not the standard", () => {
    expect(parametersOf({ ...NOTHING_ASKED, preset: "social" })).toEqual({ caption_preset: "social" });
    expect(parametersOf({ ...NOTHING_ASKED, preset: "broadcast", diarize: false })).toEqual({
      caption_preset: "broadcast",
      diarize: false,
    });
  });

  it("force a language only where there is one", () => {
    expect(parametersOf({ ...NOTHING_ASKED, force: true })).toEqual({});
    expect(parametersOf({ ...NOTHING_ASKED, force: true, language: "de" })).toEqual({
      language: "de",
      force_language: true,
    });
  });
});

describe("a file", () => {
  it.each([
    ["talk.MP4", "", "recording"],
    ["call.wav", "audio/wav", "recording"],
    ["stream.ts", "text/vnd.trolltech.linguist", "recording"],
    ["recording", "video/x-matroska", "recording"],
    ["recording", "", "unknown"],
    ["call.xyz", "application/octet-stream", "unknown"],
    ["letter.txt", "text/plain", "other"],
    ["notes", "text/markdown", "other"],
    ["paper.pdf", "application/pdf", "other"],
    ["sheet", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "other"],
    ["all.zip", "application/x-zip-compressed", "other"],
    ["photo.jpeg", "image/jpeg", "other"],
    ["subtitles.srt", "application/x-subrip", "other"],
  ])("named %s, of the type %j, is %s", (name, type, kind) => {
    expect(kindOf({ name, type })).toBe(kind);
  });
});
