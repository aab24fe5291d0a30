/**
 * Whether and how the user is told that a job has ended: by push where there is a push service, which comes with the
 * page closed; else by a notification of the page, while it is out of sight.
 *
 * The browser's own question is asked only after ours, and ours only after the first completed job.
 */
import type { Item } from "../state/jobs";
import { isOver } from "../state/merge";
import type { Told } from "./told";

export type Permission = "default" | "granted" | "denied" | "unsupported";

/** What the browser does. */
export interface Browser {
  permission(): Permission;
  ask(): Promise<Permission>;
  /** Null where it cannot be told by push. */
  subscribed(publicKey: string): Promise<PushSubscriptionJSON | null>;
  hidden(): boolean;
  show(told: Told): void;
}

/** What the server does. Rejects with something that has a `status`. */
export interface Server {
  notificationKey(): Promise<string>;
  notify(jobId: string, token: string, subscription: PushSubscriptionJSON): Promise<void>;
}

export interface State {
  /** Whether our question stands. */
  readonly asking: boolean;
  /** Whether the browser was told no, just now. */
  readonly refused: boolean;
}

type Choice = "yes" | "no";
const KEY = "subtide.notify.1";

export class Notices {
  private state: State = { asking: false, refused: false };
  private readonly listeners = new Set<() => void>();
  /** Runs that were seen running, so that their end is news. */
  private readonly running = new Set<string>();
  /** Runs that the push service will tell of. */
  private readonly pushed = new Map<string, Promise<boolean>>();
  private subscription: Promise<PushSubscriptionJSON | null> | null = null;

  constructor(
    private readonly storage: Storage,
    private readonly browser: Browser,
    private readonly server: Server,
  ) {}

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  current = (): State => this.state;

  /** What is known of the jobs now. */
  see(items: readonly Item[]): void {
    for (const { id, token, mine, known } of items) {
      if (!mine || known === null) continue;
      const run = `${id} ${known.job.run}`;
      if (!isOver(known.job)) {
        this.running.add(run);
        if (this.wanted()) void this.push(run, id, token);
      } else if (this.running.delete(run)) {
        const { status, filename } = known.job;
        if (status === "completed" || status === "failed")
          void this.ended(run, { job_id: id, filename, outcome: status });
        if (status === "completed") this.offer();
      }
    }
  }

  async accept(): Promise<void> {
    const answer = await this.browser.ask();
    if (answer !== "granted") {
      this.choose("no");
      this.put({ asking: false, refused: answer === "denied" });
      return;
    }
    this.choose("yes");
    this.put({ asking: false, refused: false });
  }

  decline(): void {
    this.choose("no");
    this.put({ asking: false, refused: false });
  }

  private offer(): void {
    if (this.browser.permission() === "default" && this.chosen() === null) this.put({ asking: true, refused: false });
  }

  private async ended(run: string, told: Told): Promise<void> {
    if (!this.wanted() || !this.browser.hidden()) return;
    if ((await this.pushed.get(run)) !== true) this.browser.show(told);
  }

  private push(run: string, id: string, token: string): Promise<boolean> {
    let asked = this.pushed.get(run);
    if (asked === undefined) {
      asked = this.asked(id, token);
      this.pushed.set(run, asked);
    }
    return asked;
  }

  private async asked(id: string, token: string): Promise<boolean> {
    try {
      this.subscription ??= this.server.notificationKey().then((key) => this.browser.subscribed(key));
      const subscription = await this.subscription;
      if (subscription === null) return false;
      await this.server.notify(id, token, subscription);
      return true;
    } catch {
      return false; // the page itself tells, as long as it is open
    }
  }

  private wanted(): boolean {
    return this.chosen() === "yes" && this.browser.permission() === "granted";
  }

  private chosen(): Choice | null {
    const found = this.storage.getItem(KEY);
    return found === "yes" || found === "no" ? found : null;
  }

  private choose(choice: Choice): void {
    try {
      this.storage.setItem(KEY, choice);
    } catch {
      // No room: it is asked again another day.
    }
  }

  private put(state: State): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}
