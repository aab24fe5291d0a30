/**
 * One websocket for all jobs, for as long as the page is open: it comes back by itself and goes on where it was.
 */
import type {
  Error as Refused,
  FactHappened,
  Ping,
  Pong,
  Progress,
  Snapshot,
  Subscribe,
  Unsubscribe,
} from "../../generated/messages";

export type ServerMessage = Snapshot | FactHappened | Progress | Refused | Pong;
type ClientMessage = Subscribe | Unsubscribe | Ping;

export interface Handlers {
  /** Where to go on with a job: the last fact seen, 0 for all of them, null for the present state alone. */
  since(jobId: string): number | null;
  heard(message: ServerMessage): void;
  changed(connected: boolean): void;
}

/** The part of WebSocket that is used. */
export interface Socket {
  onopen: (() => void) | null;
  onclose: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(text: string): void;
  close(): void;
}

export const FIRST_PAUSE_MS = 500;
export const LONGEST_PAUSE_MS = 10_000;
export const SILENCE_MS = 20_000;
export const ANSWER_MS = 10_000;
export const AGAIN_MS = 3_000;
/** What a server lets one socket watch. */
export const WATCHED_MAX = 200;

export class Connection {
  private readonly tokens = new Map<string, string>();
  private socket: Socket | null = null;
  private open = false;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pulse: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly handlers: Handlers,
    private readonly opened: () => Socket,
    private readonly random: () => number = Math.random,
  ) {}

  get connected(): boolean {
    return this.open;
  }

  watch(jobId: string, token: string): void {
    if (this.tokens.size >= WATCHED_MAX && !this.tokens.has(jobId)) return;
    this.tokens.set(jobId, token);
    if (this.open) this.subscribe(jobId);
    else this.connect();
  }

  isWatched(jobId: string): boolean {
    return this.tokens.has(jobId);
  }

  unwatch(jobId: string): void {
    if (this.tokens.delete(jobId) && this.open) this.send({ type: "unsubscribe", job_id: jobId });
  }

  /** Try at once: the network is back, or somebody looks at the page again. */
  wake(): void {
    if (this.open || this.socket !== null) return;
    this.failures = 0;
    this.connect();
  }

  /** The network is gone: do not wait until the socket notices. */
  lost(): void {
    if (this.socket !== null) this.gone();
  }

  private connect(): void {
    if (this.socket !== null || this.tokens.size === 0) return;
    clearTimeout(this.timer);
    const socket = this.opened();
    this.socket = socket;
    socket.onopen = () => {
      this.open = true;
      this.failures = 0;
      this.handlers.changed(true);
      for (const jobId of this.tokens.keys()) this.subscribe(jobId);
      this.expect(SILENCE_MS, () => this.ping());
    };
    socket.onmessage = ({ data }) => {
      this.expect(SILENCE_MS, () => this.ping());
      this.take(JSON.parse(String(data)) as ServerMessage);
    };
    socket.onclose = () => this.gone();
    this.expect(ANSWER_MS, () => this.gone());
  }

  private take(message: ServerMessage): void {
    if (message.type === "error" && message.code === "log_unavailable" && message.job_id) {
      const jobId = message.job_id;
      setTimeout(() => this.open && this.tokens.has(jobId) && this.subscribe(jobId), AGAIN_MS);
      return;
    }
    if (message.type === "error" && message.job_id) this.tokens.delete(message.job_id);
    this.handlers.heard(message);
  }

  private subscribe(jobId: string): void {
    const token = this.tokens.get(jobId);
    if (token === undefined) return;
    const since = this.handlers.since(jobId);
    this.send({ type: "subscribe", job_id: jobId, token, ...(since === null ? {} : { since }) });
  }

  private ping(): void {
    this.send({ type: "ping" });
    this.expect(ANSWER_MS, () => this.gone());
  }

  private expect(withinMs: number, otherwise: () => void): void {
    clearTimeout(this.pulse);
    this.pulse = setTimeout(otherwise, withinMs);
  }

  private send(message: ClientMessage): void {
    this.socket?.send(JSON.stringify(message));
  }

  private gone(): void {
    const socket = this.socket;
    clearTimeout(this.pulse);
    clearTimeout(this.timer);
    this.socket = null;
    if (socket !== null) {
      socket.onopen = socket.onclose = socket.onmessage = null;
      socket.close();
    }
    this.open = false;
    this.handlers.changed(false);
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.failures);
    this.failures += 1;
    this.timer = setTimeout(() => this.connect(), pause * (0.5 + this.random() / 2));
  }
}
