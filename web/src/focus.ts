/** Where the focus goes when what had it goes: never to nowhere, from where Escape reaches no dialog and Tab begins anew. */
import { type RefObject, useEffect, useLayoutEffect, useRef } from "react";

const DIALOG = "[role=dialog], [role=alertdialog]";
const FOCUSABLE = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), textarea";
/** A dialog that closes gives the focus back a frame later; only then it can be taken on. */
const FRAMES = 3;
const FRAMES_MAX = 120;

const isNowhere = (): boolean => document.activeElement === null || document.activeElement === document.body;

/**
 * After the page shows another address: what it is about, so that it is read out and Tab goes on from there. Otherwise
 * only where the focus has gone with what had it. Who is quicker, and at work in the new content already, is left there.
 */
export function focusContent(onlyIfLost = false): void {
  const before = document.activeElement;
  let resting = 0;
  let left = FRAMES_MAX;
  const look = () => {
    resting = document.querySelector(DIALOG) ? 0 : resting + 1;
    if (resting < FRAMES && left-- > 0) {
      requestAnimationFrame(look);
      return;
    }
    const target = document.querySelector<HTMLElement>("main h1") ?? document.querySelector("main");
    const isAtWork = document.activeElement !== before && document.activeElement?.closest("main > *");
    if (!target || isAtWork || (onlyIfLost && !isNowhere())) return;
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
  };
  look();
}

/**
 * Where something in a row of a list had the focus and is gone, the next row has it, else the one before, else what
 * stays. `keys` says which rows there are, and changes with what can be pressed in them.
 */
export function useHandedOn(list: RefObject<HTMLElement | null>, keys: string, stays: () => HTMLElement | null): void {
  const row = useRef(-1);
  const other = useRef(stays);
  useEffect(() => {
    other.current = stays;
  });
  useEffect(() => {
    const into = ({ target }: FocusEvent) => {
      const rows = [...(list.current?.children ?? [])];
      const found = rows.findIndex((one) => one.contains(target as Node));
      if (found >= 0) row.current = found;
      else if (!(target as Element).closest(DIALOG) || list.current?.closest(DIALOG)?.contains(target as Node)) {
        row.current = -1;
      }
    };
    const outOf = ({ target, relatedTarget }: FocusEvent) => {
      // Somebody pressed where there is nothing: that is no loss. What is removed is no more in the page by then.
      if (relatedTarget === null) setTimeout(() => (target as Node).isConnected && isNowhere() && (row.current = -1));
    };
    document.addEventListener("focusin", into);
    document.addEventListener("focusout", outOf);
    return () => {
      document.removeEventListener("focusin", into);
      document.removeEventListener("focusout", outOf);
    };
  }, [list]);
  useLayoutEffect(() => {
    const from = row.current;
    if (from < 0) return;
    let frames = FRAMES;
    let frame = 0;
    const look = () => {
      if (isNowhere()) nextOf([...(list.current?.children ?? [])], from, other.current)?.focus();
      if (frames-- > 0) frame = requestAnimationFrame(look); // a dialog over it may only be closing, and take it
    };
    look();
    return () => cancelAnimationFrame(frame);
  }, [list, keys]);
}

function nextOf(rows: readonly Element[], from: number, stays: () => HTMLElement | null): HTMLElement | null {
  for (const row of [...rows.slice(from), ...rows.slice(0, from).reverse()]) {
    const found = row.querySelector<HTMLElement>(FOCUSABLE);
    if (found) return found;
  }
  return stays();
}

/** A net under everything that happens in a dialog: where the focus is lost nevertheless, its tab or itself has it. */
export function useHeld(dialog: RefObject<HTMLElement | null>): void {
  useEffect(() => {
    const held = dialog.current;
    if (!held) return;
    let frame = 0;
    const look = (left: number) => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        if (left > 0) look(left - 1);
        else if (isNowhere() && !held.closest("[inert], [aria-hidden=true]"))
          (held.querySelector<HTMLElement>("[role=tab][aria-selected=true]") ?? held).focus({ preventScroll: true });
      });
    };
    const changed = new MutationObserver(() => look(2 * FRAMES));
    changed.observe(held, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
    const left = () => look(2 * FRAMES);
    document.addEventListener("focusout", left);
    return () => {
      cancelAnimationFrame(frame);
      changed.disconnect();
      document.removeEventListener("focusout", left);
    };
  }, [dialog]);
}
