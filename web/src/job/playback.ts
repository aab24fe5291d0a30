/** The one clock of the view: what is played, and who wants to know where. */
export interface Playback {
  attach: (element: HTMLMediaElement | null) => void;
  at: () => number;
  seek: (seconds: number) => void;
  toggle: () => void;
  skip: (seconds: number) => void;
  /** Told of every movement, at most once a frame. */
  listen: (listener: (seconds: number) => void) => () => void;
  print: () => void;
  onPrint: (listener: (() => void) | null) => void;
}

/** Without a recording it is a clock that only moves when somebody seeks. */
export function newPlayback(): Playback {
  let element: HTMLMediaElement | null = null;
  let resting = 0;
  let frame = 0;
  let printing: (() => void) | null = null;
  const listeners = new Set<(seconds: number) => void>();
  const at = () => element?.currentTime ?? resting;
  const tell = () => {
    for (const listener of listeners) listener(at());
  };
  const run = () => {
    tell();
    cancelAnimationFrame(frame);
    if (element && !element.paused) frame = requestAnimationFrame(run);
  };
  const seek = (seconds: number) => {
    resting = Math.max(0, seconds);
    if (element) element.currentTime = resting;
    tell();
  };
  return {
    attach(next) {
      for (const name of ["play", "seeked", "seeking", "timeupdate"]) {
        element?.removeEventListener(name, run);
        next?.addEventListener(name, run);
      }
      element = next;
    },
    at,
    seek,
    toggle() {
      if (!element) return;
      if (element.paused) void element.play().catch(() => undefined);
      else element.pause();
    },
    skip(seconds) {
      seek(at() + seconds);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    print() {
      printing?.();
      print();
    },
    onPrint(listener) {
      printing = listener;
    },
  };
}
