import { useRef } from "react";
import { Dialog, type DialogProps } from "react-aria-components";
import { useHeld } from "./focus";

/** A dialog that always has the focus somewhere in it, so that Escape closes it. */
export function HeldDialog(props: DialogProps) {
  const ref = useRef<HTMLElement>(null);
  useHeld(ref);
  return <Dialog ref={ref} {...props} />;
}
