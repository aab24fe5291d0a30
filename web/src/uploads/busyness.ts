/** How busy the server is: asked again for as long as it takes nothing more, or something waits for it. */
import type { Capacity } from "../api";

const WAITING_MS = 5_000;
const WATCHING_MS = 10_000;

export class Busyness {
  private known: Capacity | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly capacity: () => Promise<Capacity>,
    private readonly waits: () => boolean,
    private readonly told: () => void,
  ) {}

  get current(): Capacity | null {
    return this.known;
  }

  async ask(): Promise<void> {
    clearTimeout(this.timer);
    try {
      this.known = await this.capacity();
    } catch {
      this.askSoon();
      return;
    }
    this.told();
    if (!this.known.accepting || this.waits()) this.askSoon();
  }

  askSoon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.ask(), this.waits() ? WAITING_MS : WATCHING_MS);
  }

  /** Somebody looks at the page again: at once, where it was told to be busy. */
  look(): void {
    if (this.known?.accepting !== true) void this.ask();
  }
}
