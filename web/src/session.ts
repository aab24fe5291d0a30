/** What lives as long as the page does, whatever it shows: the jobs, the uploads, the connection. */
import { useSyncExternalStore } from "react";
import { api, clock } from "./api";
import { browser, listen } from "./notify/browser";
import { Notices } from "./notify/notices";
import { Connection, type Handlers, type Socket } from "./state/connection";
import { type Item, Jobs, type State as JobsState } from "./state/jobs";
import { lasting, passing } from "./state/places";
import { GoneStore, JobStore } from "./state/storage";
import { Records } from "./uploads/records";
import { type State as UploadsState, Uploads } from "./uploads/uploads";

const SAVED_AFTER_MS = 1_000;
const STALE_AFTER_MS = 2_000;

type Submitted = (jobId: string, filename: string) => void;

const submittedListeners = new Set<Submitted>();
const store = new JobStore(lasting);

export const jobs = new Jobs(store, new JobStore(passing, "subtide.visited.1"), new GoneStore(passing), api, () =>
  clock.now(),
);
export const uploads = new Uploads(new Records(lasting), (jobId, token, record) => {
  jobs.add(jobId, token);
  for (const listener of submittedListeners) listener(jobId, record.name);
});

export const notices = new Notices(lasting, browser, {
  notificationKey: api.notificationKey,
  notify: api.notify,
});

export const useJobs = (): JobsState => useSyncExternalStore(jobs.subscribe, jobs.current);
export const useUploads = (): UploadsState => useSyncExternalStore(uploads.subscribe, uploads.current);
export const useJob = (id: string): Item | undefined => useJobs().items.find((item) => item.id === id);

export function onSubmitted(listener: Submitted): () => void {
  submittedListeners.add(listener);
  return () => submittedListeners.delete(listener);
}

const OF_A_JOB = /^\/jobs\/([0-9A-Za-z_-]{1,64})\/?$/;

export function jobIdOf(path: string): string | null {
  return OF_A_JOB.exec(path)?.[1] ?? null;
}

/** A token that came in the address goes to the jobs and out of the address bar, before anything is shown. */
export function takeToken(): void {
  const { pathname, hash, search } = location;
  const query = new URLSearchParams(search);
  const token = new URLSearchParams(hash.slice(1)).get("token") ?? query.get("token");
  if (token === null) return;
  query.delete("token");
  const left = query.size ? `?${query}` : "";
  history.replaceState(history.state, "", `${pathname}${left}`);
  const id = jobIdOf(pathname);
  if (id !== null && jobs.get(id)?.mine !== true) jobs.visit(id, token);
}

export function start(): void {
  takeToken();
  const address = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/ws`;
  let worrying: ReturnType<typeof setTimeout> | undefined;
  const handlers: Handlers = {
    since: (id) => jobs.since(id),
    heard: (message) => jobs.heard(message),
    changed: (connected) => {
      jobs.changed(connected);
      if (connected) {
        clearTimeout(worrying);
        worrying = undefined;
      } else worrying ??= setTimeout(() => jobs.setStale(true), STALE_AFTER_MS);
    },
  };
  const connection = new Connection(handlers, () => new WebSocket(address) as unknown as Socket);
  jobs.start(connection);
  uploads.start();

  jobs.subscribe(() => notices.see(jobs.current().items));
  listen();

  let saving: ReturnType<typeof setTimeout> | undefined;
  jobs.subscribe(() => {
    saving ??= setTimeout(() => {
      saving = undefined;
      jobs.save();
    }, SAVED_AFTER_MS);
  });
  addEventListener("pagehide", () => jobs.save());
  addEventListener("storage", (event) => {
    if (store.concerns(event)) jobs.reload();
  });
  addEventListener("hashchange", takeToken);
  addEventListener("offline", () => {
    jobs.setStale(true);
    connection.lost();
  });
  addEventListener("online", () => {
    connection.wake();
    void jobs.back();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") connection.wake();
  });
  if (!navigator.onLine) jobs.setStale(true);
}
