import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Button, Heading, Modal, ModalOverlay } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { api } from "../api";
import { copyText } from "../copy";
import { HeldDialog } from "../dialog";
import { useHandedOn } from "../focus";
import { formatDate } from "../format";
import { Icon } from "../icons";
import { Queries } from "../queries";
import { say } from "../said";
import { strings } from "../strings";
import "../styles/dialog.css";

const text = strings.sharing;

interface ShareProps {
  job: Job;
  token: string;
  onClose: () => void;
}

export default function ShareDialog(props: ShareProps) {
  return (
    <ModalOverlay className="dialog-shade" isOpen onOpenChange={(open) => open || props.onClose()} isDismissable>
      <Modal className="dialog">
        <HeldDialog>
          <header className="dialog-head">
            <Heading slot="title" level={2}>
              {text.title}
            </Heading>
            <Button slot="close" className="button quiet round" aria-label={strings.close}>
              <Icon name="close" />
            </Button>
          </header>
          <Queries>
            <Links {...props} />
          </Queries>
        </HeldDialog>
      </Modal>
    </ModalOverlay>
  );
}

/** No button turns itself off while the server works: it would lose the focus. */
function Links({ job, token }: ShareProps) {
  const id = job.job_id;
  const list = useRef<HTMLUListElement>(null);
  const title = useRef<HTMLHeadingElement>(null);
  const shares = useQuery({ queryKey: ["shares", id], queryFn: () => api.shares(id, token) });
  const settled = () => shares.refetch();
  const minting = useMutation({ mutationFn: () => api.share(id, token), onSettled: settled });
  const revoking = useMutation({
    mutationFn: (share: number) => api.revoke(id, token, share),
    onSuccess: (_, share) => say(text.revokedOf(share)),
    onSettled: settled,
  });
  const open = shares.data?.filter(({ revoked }) => !revoked).map(({ share_id }) => share_id) ?? [];
  useHandedOn(list, open.join(" "), () => title.current);
  const error = shares.error ?? minting.error ?? revoking.error;
  const link = minting.data && `${location.origin}/jobs/${id}#token=${minting.data.share_token}`;
  return (
    <>
      <p className="dialog-text">
        <strong className="share-name">{job.filename}</strong> {text.text}
      </p>
      {link ? <Made link={link} /> : null}
      <Button className="button primary" onPress={() => minting.isPending || minting.mutate()}>
        {text.make}
      </Button>
      {error && (
        <p className="notice bad" role="alert">
          {error.message}
        </p>
      )}
      <h3 className="share-title" ref={title} tabIndex={-1}>
        {text.list}
      </h3>
      {shares.isPending && <div className="bone" />}
      {shares.data?.length === 0 && <p className="dialog-text">{text.none}</p>}
      <ul className="shares" ref={list}>
        {shares.data?.map(({ share_id, minted_at, revoked }) => (
          <li key={share_id} className={revoked ? "revoked" : undefined}>
            <span>
              {text.link(share_id)} <span className="soft">{text.from(formatDate(minted_at))}</span>
            </span>
            {revoked ? (
              <span className="soft">{text.revoked}</span>
            ) : (
              <Button
                className="button small"
                aria-label={text.revokeOf(share_id)}
                onPress={() => revoking.isPending || revoking.mutate(share_id)}
              >
                {text.revoke}
              </Button>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}

/** It has the focus, and is chosen whole, so that it can be copied at once. */
function Made({ link }: { link: string }) {
  const [copied, setCopied] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const copy = async () => {
    if (!(await copyText(link))) return;
    setCopied(link);
    say(text.copied);
  };
  useEffect(() => {
    field.current?.focus();
    say(`${text.made} ${text.note}`);
  }, [link]);
  return (
    <div className="made">
      <label htmlFor="share-link">
        {text.made} <span className="soft">{text.note}</span>
      </label>
      <div className="made-row">
        <input ref={field} id="share-link" readOnly value={link} onFocus={(event) => event.target.select()} />
        <Button className="button" onPress={() => void copy()}>
          <Icon name={copied === link ? "check" : "copy"} size={18} />
          {copied === link ? text.copied : text.copy}
        </Button>
      </div>
    </div>
  );
}
