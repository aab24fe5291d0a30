/** What is not needed for dropping a file: loaded when it is first shown, or before, once the page rests. */
import { later } from "./later";

export const Panel = later(() => import("../panel/panel"), "corner");
export const JobPage = later(() => import("../job/page"), "page");
export const Transcript = later(() => import("../job/transcript"), "page");
export const Captions = later(() => import("../job/captions"), "aside");
export const ShareDialog = later(() => import("../share/dialog"), "corner");
export const NotifyCard = later(() => import("../notify/card"), "unasked");

const RESTS_MS = 1_500;
const ALL = [Panel, JobPage, Transcript, Captions, ShareDialog, NotifyCard];

/** So that everything is there when the network is not. Returns what ends it. */
export function fetchAhead(): () => void {
  let ended = false;
  const fetchAll = async () => {
    for (const part of ALL) if (!ended) await idle().then(part.load);
  };
  const timer = setTimeout(() => void fetchAll(), RESTS_MS);
  const back = () => void fetchAll();
  addEventListener("online", back);
  return () => {
    ended = true;
    clearTimeout(timer);
    removeEventListener("online", back);
  };
}

/** Safari knows no idle time. */
function idle(): Promise<void> {
  return new Promise((go) => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => go(), { timeout: RESTS_MS });
    else setTimeout(go, 50);
  });
}
