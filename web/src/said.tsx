/** What is said to those who do not see it, in a dialog too: each sentence once, none lost to the next. */
import { useSyncExternalStore } from "react";

interface Said {
  readonly key: number;
  readonly sentence: string;
}

const KEPT_MS = 15_000;

let all: readonly Said[] = [];
let count = 0;
const listeners = new Set<() => void>();

export function say(sentence: string): void {
  const said = { key: count++, sentence };
  put([...all, said]);
  setTimeout(() => put(all.filter((one) => one !== said)), KEPT_MS);
}

function put(next: readonly Said[]): void {
  all = next;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Its mark keeps it from being hidden with the rest of the page while a dialog is open. */
export function Announcer() {
  const shown = useSyncExternalStore(subscribe, () => all);
  return (
    <div className="hidden" role="log" aria-live="polite" aria-relevant="additions" data-live-announcer="true">
      {shown.map(({ key, sentence }) => (
        <p key={key}>{sentence}</p>
      ))}
    </div>
  );
}
