/**
 * Whether the jobs panel opens by itself: once for the files that go together, and neither over a field that somebody
 * types in nor after somebody has closed it.
 */
export class Opening {
  private uploading = 0;
  private done = false;
  private typed = false;

  /** How many files are on their way now. Where there were none, others begin. */
  sees(uploading: number): void {
    if (uploading > 0 && this.uploading === 0) this.done = false;
    if (uploading > this.uploading) this.typed = false;
    this.uploading = uploading;
  }

  /** Somebody has turned to a field since. */
  types(): void {
    this.typed = true;
  }

  /** One of them has become a job, while a field has the focus or not. */
  submitted(inField: boolean): boolean {
    if (this.done || (inField && this.typed)) return false;
    this.done = true;
    return true;
  }

  /** It is opened or closed by hand. */
  touched(): void {
    this.done = true;
  }
}
