import { Button, Heading, Modal, ModalOverlay } from "react-aria-components";
import { HeldDialog } from "../dialog";
import "../styles/dialog.css";

interface ConfirmProps {
  open: boolean;
  onClose: () => void;
  title: string;
  text: string;
  yes: string;
  no: string;
  act: () => void;
  other?: { label: string; act: () => void };
}

/** Asks before something that cannot be taken back. */
export function Confirm({ open, onClose, title, text, yes, no, act, other }: ConfirmProps) {
  const done = (what: () => void) => () => {
    onClose();
    what();
  };
  return (
    <ModalOverlay className="dialog-shade" isOpen={open} onOpenChange={(now) => now || onClose()} isDismissable>
      <Modal className="dialog">
        <HeldDialog role="alertdialog">
          <Heading slot="title" level={2}>
            {title}
          </Heading>
          <p className="dialog-text">{text}</p>
          <div className="dialog-actions">
            {/* eslint-disable-next-line jsx-a11y/no-autofocus -- in a dialog the harmless answer is the one to begin at */}
            <Button className="button" onPress={onClose} autoFocus>
              {no}
            </Button>
            {other && (
              <Button className="button" onPress={done(other.act)}>
                {other.label}
              </Button>
            )}
            <Button className="button danger" onPress={done(act)}>
              {yes}
            </Button>
          </div>
        </HeldDialog>
      </Modal>
    </ModalOverlay>
  );
}
