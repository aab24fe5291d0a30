/**
 * What is known of a job after one more message of the websocket. Pure.
 *
 * Nothing goes back: an older snapshot, a fact said twice and a late word of progress change nothing, except that
 * captions said again are filled in.
 */
import type {
  Caption,
  ChunkTranscribed,
  FactHappened,
  Job,
  JobCompleted,
  Progress,
  Snapshot,
  VersionExported,
} from "../../generated/messages";

export interface Known {
  readonly job: Job;
  /** The last fact that `job` takes into account. */
  readonly seq: number;
  /** Live transcript of this run, by chunk. */
  readonly captions: ReadonlyMap<number, readonly Caption[]>;
}

export const TERMINAL: ReadonlySet<Job["status"]> = new Set(["completed", "failed", "cancelled"] as const);

export const isOver = (job: Job): boolean => TERMINAL.has(job.status);

const NONE: ReadonlyMap<number, readonly Caption[]> = new Map();

export function remembered(job: Job, seq: number): Known {
  return { job, seq, captions: NONE };
}

export function afterSnapshot(known: Known | undefined, message: Snapshot): Known {
  if (known === undefined) return remembered(message.job, message.seq);
  if (message.seq < known.seq) return known;
  const sameRun = message.job.run === known.job.run;
  const job =
    sameRun && message.job.status === known.job.status && message.job.progress < known.job.progress
      ? { ...message.job, progress: known.job.progress }
      : message.job;
  return { job, seq: message.seq, captions: sameRun ? known.captions : NONE };
}

export function afterFact(known: Known, message: FactHappened): Known {
  if (message.run < known.job.run) return known;
  const captioned = withCaptions(known, message);
  if (message.seq <= known.seq) return captioned;
  return { ...captioned, seq: message.seq, job: happened(known.job, message) };
}

export function afterProgress(known: Known, message: Progress): Known {
  const { job } = known;
  if (message.run !== job.run || message.seq < known.seq || isOver(job)) return known;
  return {
    ...known,
    job: {
      ...job,
      status: message.status,
      progress: Math.max(job.progress, message.progress),
      progress_stage: message.progress_stage,
      progress_message: message.progress_message,
      stages: message.stages,
      queue_position: message.queue_position ?? null,
      starts_in_s: message.starts_in_s ?? null,
      estimated_remaining_seconds: message.estimated_remaining_seconds ?? null,
    },
  };
}

/** The live transcript so far, in the order in which it is said. */
export function captionsOf(known: Known): Caption[] {
  return [...known.captions.keys()].sort((a, b) => a - b).flatMap((n) => [...(known.captions.get(n) ?? [])]);
}

function withCaptions(known: Known, message: FactHappened): Known {
  const before = message.run > known.job.run ? NONE : known.captions;
  if (message.fact !== "chunk_transcribed") return before === known.captions ? known : { ...known, captions: before };
  const { n, captions } = message.data as Pick<ChunkTranscribed, "n" | "captions">;
  return { ...known, captions: new Map(before).set(n, captions) };
}

function happened(job: Job, { fact, data, run, at }: FactHappened): Job {
  switch (fact) {
    case "accepted":
      return run === job.run ? job : begunAgain(job, run, at);
    case "started":
      return { ...job, status: "processing", started_at: at, queue_position: null, starts_in_s: null };
    case "completed":
      return completed(job, data as Completed, at);
    case "exported": {
      const { n, words, speakers, failed } = data as VersionExported;
      return failed || n <= (job.version ?? 0) ? job : { ...job, version: n, words, speakers };
    }
    case "failed": {
      const { code, message, hint, reference } = data as Failed;
      return {
        ...over(job, "failed", at),
        progress_message: message,
        error_code: code,
        error_message: message,
        error_hint: hint,
        error_reference: reference,
      };
    }
    case "cancelled":
      return over(job, "cancelled", at);
    default:
      return job;
  }
}

/** As the gateway says it: `results` are the names of the formats alone. */
type Completed = Omit<JobCompleted, "results"> & { results: string[] };
interface Failed {
  code: string;
  message: string;
  hint: string;
  reference: string;
}

function over(job: Job, status: Job["status"], at: string): Job {
  return {
    ...job,
    status,
    completed_at: at,
    queue_position: null,
    starts_in_s: null,
    estimated_remaining_seconds: null,
  };
}

function completed(job: Job, data: Completed, at: string): Job {
  return {
    ...over(job, "completed", at),
    progress: 100,
    progress_stage: "complete",
    language: data.language,
    duration_s: data.duration_s,
    speakers: data.speakers,
    words: data.words,
    warnings: data.warnings ?? [],
    cached: data.cached ?? false,
    cached_at: data.cached_at ?? null,
    downloads: Object.fromEntries(data.results.map((name) => [name, `/api/jobs/${job.job_id}/download/${name}`])),
  };
}

function begunAgain(job: Job, run: number, at: string): Job {
  return {
    ...job,
    run,
    created_at: at,
    status: "pending",
    progress: 0,
    progress_stage: "queued",
    progress_message: "",
    stages: Object.fromEntries(Object.keys(job.stages).map((stage) => [stage, 0])),
    started_at: null,
    completed_at: null,
    error_code: null,
    error_message: null,
    error_hint: null,
    error_reference: null,
    version: 0,
    downloads: {},
  };
}
