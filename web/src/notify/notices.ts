/**
 * Whether and how the user is told that a job has ended: by push where there is a push service, which comes with the
 * page closed; else by a notification of the page, while it is out of sight.
 *
 * The browser's own question is asked only after ours, and ours only after the first completed job.
 */
import { Endings } from "../state/endings";
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
  /** Have no push service tell it anything any more. */
  unsubscribe(): Promise<void>;
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
  /** Whether it is wished and allowed. */
  readonly on: boolean;
  readonly permission: Permission;
}

type Choice = "yes" | "no";
const KEY = "subtide.notify.1";

export class Notices {
  private state: State;
  private readonly listeners = new Set<() => void>();
  private readonly endings = new Endings();
  /** Runs that the push service will tell of. */
  private readonly pushed = new Map<string, Promise<boolean>>();
  private subscription: Promise<PushSubscriptionJSON | null> | null = null;

  constructor(
    private readonly storage: Storage,
    private readonly browser: Browser,
    private readonly server: Server,
  ) {
    this.state = this.now(false, false);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  current = (): State => this.state;

  /** What is known of the jobs now. */
  see(items: readonly Item[]): void {
    for (const { id, token, mine, known } of items)
      if (mine && known !== null && !isOver(known.job) && this.wanted())
        void this.push(runOf(id, known.job.run), id, token);
    for (const { job_id, run, status, filename } of this.endings.of(items)) {
      if (status === "completed" || status === "failed")
        void this.ended(runOf(job_id, run), { job_id, filename, outcome: status });
      if (status === "completed") this.offer();
    }
  }

  async accept(): Promise<void> {
    const answer = await this.browser.ask();
    if (answer !== "granted") {
      this.choose("no");
      this.put(false, answer === "denied");
      return;
    }
    this.choose("yes");
    this.put(false, false);
  }

  decline(): void {
    if (this.wanted()) {
      this.subscription = null;
      this.pushed.clear();
      void this.browser.unsubscribe().catch(() => undefined);
    }
    this.choose("no");
    this.put(false, false);
  }

  private offer(): void {
    if (this.browser.permission() === "default" && this.chosen() === null) this.put(true, false);
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

  private now(asking: boolean, refused: boolean): State {
    return { asking, refused, on: this.wanted(), permission: this.browser.permission() };
  }

  private put(asking: boolean, refused: boolean): void {
    this.state = this.now(asking, refused);
    for (const listener of this.listeners) listener();
  }
}

const runOf = (id: string, run: number): string => `${id} ${run}`;
