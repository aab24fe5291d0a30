import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  AGAIN_MS,
  ANSWER_MS,
  Connection,
  FIRST_PAUSE_MS,
  LONGEST_PAUSE_MS,
  SILENCE_MS,
  type Socket,
} from "../src/state/connection";

class Line implements Socket {
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  readonly sent: Record<string, unknown>[] = [];
  closed = false;
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.closed = true;
  }
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

let lines: Line[];
const last = () => lines.at(-1) as Line;
let since: number | null;
let states: boolean[];

function connection(): Connection {
  const handlers = { since: () => since, heard: () => undefined, changed: (state: boolean) => states.push(state) };
  return new Connection(
    handlers,
    () => lines[lines.push(new Line()) - 1] as Line,
    () => 1,
  );
}

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  states = [];
  since = 0;
});
afterEach(() => vi.useRealTimers());

describe("the websocket", () => {
  it("carries all jobs on one line", () => {
    const watching = connection();
    watching.watch("a", "ta");
    watching.watch("b", "tb");
    last().onopen?.();
    expect(lines).toHaveLength(1);
    expect(last().sent.map(({ job_id }) => job_id)).toEqual(["a", "b"]);
  });

  it("comes back after a loss and goes on where it was", () => {
    const watching = connection();
    watching.watch("a", "ta");
    last().onopen?.();
    since = 41;
    last().onclose?.();
    vi.advanceTimersByTime(FIRST_PAUSE_MS);
    last().onopen?.();
    expect(last().sent).toEqual([{ type: "subscribe", job_id: "a", token: "ta", since: 41 }]);
    expect(states).toEqual([true, false, true]);
  });

  it("waits longer after each failure, up to a limit", () => {
    connection().watch("a", "ta");
    for (let pause = FIRST_PAUSE_MS, tries = 1; tries < 8; tries += 1, pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      last().onclose?.();
      vi.advanceTimersByTime(pause - 1);
      expect(lines).toHaveLength(tries);
      vi.advanceTimersByTime(1);
      expect(lines).toHaveLength(tries + 1);
    }
  });

  it("tries at once when it is woken", () => {
    const watching = connection();
    watching.watch("a", "ta");
    last().onclose?.();
    watching.wake();
    expect(lines).toHaveLength(2);
    vi.advanceTimersByTime(LONGEST_PAUSE_MS / 2);
    expect(lines).toHaveLength(2);
  });

  it("takes a line that does not answer for dead", () => {
    connection().watch("a", "ta");
    last().onopen?.();
    vi.advanceTimersByTime(SILENCE_MS);
    expect(last().sent.at(-1)).toEqual({ type: "ping" });
    vi.advanceTimersByTime(ANSWER_MS);
    expect(lines[0]?.closed).toBe(true);
    expect(states).toEqual([true, false]);
  });

  it("asks again where the log could not be reached", () => {
    connection().watch("a", "ta");
    last().onopen?.();
    last().say({ type: "error", code: "log_unavailable", message: "", job_id: "a" });
    vi.advanceTimersByTime(AGAIN_MS);
    expect(last().sent).toHaveLength(2);
  });

  it("does not ask again for a job that is not there", () => {
    connection().watch("a", "ta");
    last().onopen?.();
    last().say({ type: "error", code: "job_not_found", message: "", job_id: "a" });
    last().onclose?.();
    vi.advanceTimersByTime(LONGEST_PAUSE_MS);
    expect(lines).toHaveLength(1);
  });
});
