/** The service worker: hears pushes while the page is closed, and brings the page back. It keeps nothing and serves nothing. */
import { strings } from "../src/strings";
import { type Told, readTold } from "../src/notify/told";

const worker = self as unknown as ServiceWorkerGlobalScope;
const text = strings.notify;

worker.addEventListener("install", () => void worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("push", (event) => {
  const told = readTold(event.data?.text() ?? "");
  if (told !== null) event.waitUntil(shown(told));
});

worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const told = readTold(JSON.stringify(event.notification.data));
  if (told !== null) event.waitUntil(opened(told.job_id));
});

function shown({ job_id, filename, outcome }: Told): Promise<void> {
  const title = outcome === "completed" ? text.completed(filename) : text.failed(filename);
  const body = outcome === "completed" ? text.completedBody : text.failedBody;
  return worker.registration.showNotification(title, { body, tag: job_id, data: { job_id, filename, outcome } });
}

async function opened(jobId: string): Promise<void> {
  const pages = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pages.find(({ visibilityState }) => visibilityState === "visible") ?? pages[0];
  if (page === undefined) {
    await worker.clients.openWindow(`/jobs/${jobId}`);
    return;
  }
  page.postMessage({ open: jobId });
  await page.focus();
}
