/** Which key presses are the player's, and which belong to where the focus is. */

const FIELDS = "textarea, select, [contenteditable], input:not([type=range], [type=checkbox], [type=radio])";
const ELSEWHERE = "[role=menu], [role=dialog], [role=alertdialog]";
const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown", " "];

/** Whether something is typed or chosen there. */
export function isField(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("textarea, select, [contenteditable], input") !== null;
}

/** Whether letters mean something there. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(`${FIELDS}, ${ELSEWHERE}`) !== null;
}

/** Whether a key press is none of the player's. */
export function isTaken(event: KeyboardEvent): boolean {
  const { target, key } = event;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return true;
  if (!(target instanceof Element)) return false;
  const chooser = target.closest("select[data-numbers]"); // no letter finds anything in it
  if (chooser !== null) return MOVES.includes(key);
  if (isTyping(target)) return true;
  if (target.closest("[type=range]") !== null) return MOVES.includes(key);
  return key === " " && target.closest("button, a, summary, [role=button], [type=checkbox], [type=radio]") !== null;
}
