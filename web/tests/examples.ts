import type { FactHappened, Job, Progress, Snapshot } from "../generated/messages";
import { Memory } from "../src/state/places";

export function aJob(changes: Partial<Job> = {}): Job {
  return {
    job_id: "j1",
    run: 1,
    status: "processing",
    filename: "talk.mp4",
    source_host: null,
    parameters: {},
    progress: 10,
    progress_stage: "transcribing",
    progress_message: "Writing down what is said",
    stages: { extracting: 1, transcribing: 0.1 },
    queue_position: null,
    starts_in_s: null,
    estimated_remaining_seconds: null,
    error_code: null,
    error_message: null,
    error_hint: null,
    error_reference: null,
    created_at: "2026-01-01T00:00:00Z",
    started_at: null,
    completed_at: null,
    language: null,
    duration_s: null,
    speakers: null,
    words: null,
    warnings: [],
    version: 0,
    notes: [],
    cached: false,
    cached_at: null,
    downloads: {},
    ...changes,
  };
}

export const aSnapshot = (seq: number, changes: Partial<Job> = {}): Snapshot => {
  const job = aJob(changes);
  return { type: "snapshot", job_id: job.job_id, seq, job };
};

export const aFact = (seq: number, fact: string, data: object, run = 1): FactHappened => ({
  type: "fact",
  job_id: "j1",
  seq,
  run,
  at: "2026-01-01T00:01:00Z",
  fact,
  data,
});

export const captioned = (seq: number, n: number, text: string): FactHappened =>
  aFact(seq, "chunk_transcribed", { n, captions: [{ start: n * 10, end: n * 10 + 2, text }] });

export const aProgress = (seq: number, changes: Partial<Progress> = {}): Progress => ({
  type: "progress",
  job_id: "j1",
  seq,
  run: 1,
  status: "processing",
  progress: 50,
  progress_stage: "transcribing",
  progress_message: "",
  stages: {},
  ...changes,
});

/** A storage in memory, which may be full. */
export class MemoryStorage extends Memory {
  full = false;
  override setItem(key: string, value: string): void {
    if (this.full && value.length > 200) throw new DOMException("full", "QuotaExceededError");
    super.setItem(key, value);
  }
}
