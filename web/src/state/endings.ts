/** Which runs of one's own jobs have ended while somebody was here: of those that were seen running, their end is news. */
import type { Job } from "../../generated/messages";
import type { Item } from "./jobs";
import { isOver } from "./merge";

export class Endings {
  private readonly running = new Set<string>();

  /** The jobs, as they are now; what has ended since the last time. */
  of(items: readonly Item[]): Job[] {
    const ended: Job[] = [];
    for (const { id, mine, known } of items) {
      if (!mine || known === null) continue;
      const run = `${id} ${known.job.run}`;
      if (!isOver(known.job)) this.running.add(run);
      else if (this.running.delete(run)) ended.push(known.job);
    }
    return ended;
  }
}
