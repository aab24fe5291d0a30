/**
 * Something that is loaded when it is first needed, as often as it takes.
 *
 * As long as somebody waits for it, a load that failed is tried again; a load ahead of time is tried once.
 */
export interface State<T> {
  readonly value: T | null;
  /** Whether it has failed to come, so that whoever waits should be told. */
  readonly failed: boolean;
}

const PAUSES_MS = [300, 1_000, 3_000, 5_000, 10_000];
/** One failure may be a moment's, and is not told. */
const TOLD_AFTER = 2;

export class Loading<T> {
  private state: State<T> = { value: null, failed: false };
  private readonly listeners = new Set<() => void>();
  private attempt: Promise<void> | null = null;
  private failures = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly load: () => Promise<T>) {}

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) clearTimeout(this.timer);
    };
  };

  current = (): State<T> => this.state;

  /** Ask for it now, unless it is here or on its way. Whether it has come. */
  async begin(): Promise<boolean> {
    clearTimeout(this.timer);
    if (this.state.value === null) {
      this.attempt ??= this.once();
      await this.attempt;
    }
    return this.state.value !== null;
  }

  private async once(): Promise<void> {
    try {
      this.put({ value: await this.load(), failed: false });
    } catch {
      const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)];
      this.failures += 1;
      if (this.listeners.size > 0) this.timer = setTimeout(() => void this.begin(), pause);
      this.put({ value: null, failed: this.failures >= TOLD_AFTER });
    } finally {
      this.attempt = null;
    }
  }

  private put(state: State<T>): void {
    this.state = state;
    for (const listener of this.listeners) listener();
  }
}
