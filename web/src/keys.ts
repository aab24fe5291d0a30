/** Whether a key press belongs to a control, so that it is none of the player's. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof Element)) return false;
  return (
    target.closest("input, textarea, select, [contenteditable], [role=menu], [role=dialog], [role=alertdialog]") !==
    null
  );
}

/** Whether the space bar already means something there. */
export function isPressable(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("button, a, summary, [role=button]") !== null;
}
