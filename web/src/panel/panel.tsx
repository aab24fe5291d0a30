import { type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Button, Heading, Modal, ModalOverlay, Tab, TabList, TabPanel, Tabs } from "react-aria-components";
import { HeldDialog } from "../dialog";
import { useHandedOn } from "../focus";
import { Icon } from "../icons";
import { jobs, notices, useJobs } from "../session";
import type { Item } from "../state/jobs";
import { isOver } from "../state/merge";
import { strings } from "../strings";
import "../styles/panel.css";
import { Card } from "./card";

const text = strings.jobs;
const PER_PAGE = 10;

type Kind = "active" | "completed" | "failed";
const KINDS: readonly Kind[] = ["active", "completed", "failed"];

function kindOf({ known }: Item): Kind {
  if (known === null || !isOver(known.job)) return "active";
  return known.job.status === "completed" ? "completed" : "failed";
}

interface PanelProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  onView: (id: string) => void;
}

export default function Panel({ open, onOpenChange, onView }: PanelProps) {
  return (
    <ModalOverlay className="panel-shade" isOpen={open} onOpenChange={onOpenChange} isDismissable>
      <Modal className="panel">
        <HeldDialog className="panel-dialog" aria-labelledby="panel-title">
          <header className="panel-head">
            <Heading slot="title" level={2} id="panel-title">
              {text.title}
            </Heading>
            <Button slot="close" className="button quiet round" aria-label={strings.close}>
              <Icon name="close" />
            </Button>
          </header>
          <Lists onView={onView} />
          <Telling />
        </HeldDialog>
      </Modal>
    </ModalOverlay>
  );
}

/** Whether one is told when a job ends: here it can be chosen at any time, whatever was answered before. */
function Telling() {
  const { on, permission } = useSyncExternalStore(notices.subscribe, notices.current);
  if (permission === "unsupported") return null;
  const denied = permission === "denied";
  return (
    <footer className="panel-foot">
      <label className="check">
        <input
          type="checkbox"
          role="switch"
          checked={on}
          disabled={denied}
          onChange={({ target }) => void (target.checked ? notices.accept() : notices.decline())}
        />
        {strings.notify.switch}
      </label>
      {denied && <p className="soft">{strings.notify.refused}</p>}
    </footer>
  );
}

function Lists({ onView }: { onView: (id: string) => void }) {
  const { items, stale } = useJobs();
  const byKind = { active: [], completed: [], failed: [] } as Record<Kind, Item[]>;
  for (const item of items) if (item.mine) byKind[kindOf(item)].push(item);
  const [chosen, setChosen] = useState<Kind | null>(null);
  const newest = items.find(({ mine }) => mine);
  const shown = chosen ?? (byKind.active.length > 0 || !newest ? "active" : kindOf(newest));
  return (
    <Tabs className="tabs" selectedKey={shown} onSelectionChange={(key) => setChosen(key as Kind)}>
      <TabList className="tablist" aria-label={text.title}>
        {KINDS.map((kind) => (
          <Tab key={kind} id={kind} className="tab">
            {text.tabs[kind]}
            <span className="tab-count">{byKind[kind].length}</span>
          </Tab>
        ))}
      </TabList>
      <div role="status">
        {stale && (
          <p className="offline in-panel">
            <Icon name="cloudOff" size={18} />
            {strings.offline}
          </p>
        )}
      </div>
      {KINDS.map((kind) => (
        <TabPanel key={kind} id={kind} className="tabpanel">
          <Paged items={byKind[kind]} none={text.none[kind]} onView={onView} />
        </TabPanel>
      ))}
    </Tabs>
  );
}

function Paged({ items, none, onView }: { items: readonly Item[]; none: string; onView: (id: string) => void }) {
  const [wanted, setPage] = useState(0);
  const pages = Math.max(1, Math.ceil(items.length / PER_PAGE));
  const page = Math.min(wanted, pages - 1);
  const shown = items.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
  const ids = shown.map(({ id }) => id).join(" ");
  const list = useRef<HTMLUListElement>(null);
  const empty = useRef<HTMLDivElement>(null);
  useHandedOn(list, ids, () => {
    const dialog = (list.current ?? empty.current)?.closest("[role=dialog]");
    return dialog?.querySelector<HTMLElement>("[role=tab][aria-selected=true]") ?? null;
  });
  useEffect(() => {
    for (const id of ids.split(" ")) jobs.follow(id);
  }, [ids]);
  if (items.length === 0) {
    return (
      <div className="none" ref={empty}>
        <span className="none-icon">
          <Icon name="captions" size={28} />
        </span>
        <p>{none}</p>
      </div>
    );
  }
  return (
    <>
      <ul className="cards" ref={list}>
        {shown.map((item) => (
          <Card key={item.id} item={item} onView={onView} />
        ))}
      </ul>
      {pages > 1 && (
        <nav className="pages" aria-label={text.pages}>
          <Turn off={page === 0} act={() => setPage(page - 1)}>
            <Icon name="left" size={18} />
            {text.previous}
          </Turn>
          <span aria-live="polite">{text.page(page + 1, pages)}</span>
          <Turn off={page === pages - 1} act={() => setPage(page + 1)}>
            {text.next}
            <Icon name="right" size={18} />
          </Turn>
        </nav>
      )}
    </>
  );
}

/** At the first and at the last page it turns itself off, and keeps the focus all the same. */
function Turn({ off, act, children }: { off: boolean; act: () => void; children: ReactNode }) {
  return (
    <button type="button" className="button small" aria-disabled={off} onClick={() => off || act()}>
      {children}
    </button>
  );
}
