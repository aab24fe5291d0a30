/** What a notification says. It may come from anywhere, so it is read with care. */
export interface Told {
  readonly job_id: string;
  readonly filename: string;
  readonly outcome: "completed" | "failed";
}

const ID = /^[0-9A-Za-z_-]{1,64}$/;

export function readTold(content: string): Told | null {
  let found: Partial<Told> | null;
  try {
    found = JSON.parse(content) as Partial<Told> | null;
  } catch {
    return null;
  }
  if (typeof found?.job_id !== "string" || !ID.test(found.job_id) || typeof found.filename !== "string") return null;
  const { job_id, filename, outcome } = found;
  return outcome === "completed" || outcome === "failed" ? { job_id, filename, outcome } : null;
}
