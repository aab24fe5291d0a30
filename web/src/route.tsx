/** The two addresses of the page, without a reload between them. */
import { type AnchorHTMLAttributes, type MouseEvent, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let shown = location.pathname;
let mayLeave: (() => boolean) | null = null;

addEventListener("popstate", () => {
  if (location.pathname !== shown && mayLeave && !mayLeave()) history.pushState(null, "", shown);
  else told();
});

/** Have somebody asked before the page shows another address. Returns what ends that. */
export function guard(ask: () => boolean): () => void {
  mayLeave = ask;
  return () => {
    if (mayLeave === ask) mayLeave = null;
  };
}

function told(): void {
  shown = location.pathname;
  for (const listener of listeners) listener();
}

export function navigate(path: string): void {
  if (path === location.pathname || (mayLeave && !mayLeave())) return;
  history.pushState(null, "", path);
  scrollTo(0, 0);
  told();
}

export function usePath(): string {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => location.pathname,
  );
}

export function Link({ href, onClick, children, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    navigate(href);
  };
  return (
    <a href={href} onClick={follow} {...rest}>
      {children}
    </a>
  );
}
