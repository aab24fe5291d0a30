/** What time it is for the server. The browser's clock may be years off; ages and waits are told by the server's. */
export class Clock {
  private offsetMs = 0;

  constructor(private readonly local: () => number = Date.now) {}

  /** The `Date` header of an answer; a second's grain is enough. */
  heard(date: string | null): void {
    const said = date === null ? Number.NaN : Date.parse(date);
    if (!Number.isNaN(said)) this.offsetMs = said - this.local();
  }

  now(): number {
    return this.local() + this.offsetMs;
  }
}
