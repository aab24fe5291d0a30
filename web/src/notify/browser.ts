/** Notifications and push, as far as this browser has them. */
import { navigate } from "../route";
import { strings } from "../strings";
import type { Browser } from "./notices";
import type { Told } from "./told";

const text = strings.notify;

export const browser: Browser = {
  permission: () => ("Notification" in window ? Notification.permission : "unsupported"),
  ask: async () => (await Notification.requestPermission()) ?? "default",
  subscribed: async (publicKey) => {
    if (!("serviceWorker" in navigator) || !("PushManager" in window)) return null;
    await navigator.serviceWorker.register("/service-worker.js");
    const { pushManager } = await navigator.serviceWorker.ready;
    const wanted = bytesOf(publicKey);
    const before = await pushManager.getSubscription();
    if (before !== null && !isSame(before.options.applicationServerKey, wanted)) await before.unsubscribe();
    const subscription = await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: wanted });
    return subscription.toJSON();
  },
  unsubscribe: async () => {
    const registration = await navigator.serviceWorker?.getRegistration();
    await (await registration?.pushManager?.getSubscription())?.unsubscribe();
  },
  hidden: () => document.hidden,
  show: ({ job_id, filename, outcome }: Told) => {
    const title = outcome === "completed" ? text.completed(filename) : text.failed(filename);
    const body = outcome === "completed" ? text.completedBody : text.failedBody;
    const notification = new Notification(title, { body, tag: job_id });
    notification.onclick = () => {
      notification.close();
      window.focus();
      navigate(`/jobs/${job_id}`);
    };
  },
};

/** What the service worker asks for: a notification was clicked. */
export function listen(): void {
  navigator.serviceWorker?.addEventListener("message", ({ data }: MessageEvent<{ open?: unknown } | null>) => {
    if (typeof data?.open === "string") navigate(`/jobs/${data.open}`);
  });
}

function bytesOf(base64url: string): Uint8Array<ArrayBuffer> {
  const letters = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

function isSame(one: ArrayBuffer | null, other: Uint8Array): boolean {
  if (one === null || one.byteLength !== other.byteLength) return false;
  return new Uint8Array(one).every((byte, n) => byte === other[n]);
}
