import { useQuery } from "@tanstack/react-query";
import { Button, Menu, MenuItem, MenuTrigger, Popover, Text } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { api, type Version } from "../api";
import { formatDate } from "../format";
import { Icon } from "../icons";
import type { Item } from "../state/jobs";
import { strings } from "../strings";
import "../styles/menu.css";

const text = strings.versions;

export const nameOf = (version: number): string => (version === 0 ? text.original : text.version(version));

/** When a version was made, and of what. */
export function aboutOf({ version, at, words, speakers, restored, ready, error }: Version): string {
  if (error !== null) return error;
  const what =
    version === 0
      ? [text.heard]
      : restored !== null
        ? [text.brought(restored)]
        : [words && text.words(words), speakers && text.speakers(speakers)];
  return [formatDate(at), ...what, ready ? "" : text.making].filter(Boolean).join(" · ");
}

interface VersionsProps {
  item: Item;
  job: Job;
  latest: number;
  shown: number;
  disabled: boolean;
  onChoose: (version: number) => void;
}

/** Every version, the latest first, to look at. Nothing where nothing was corrected. */
export function Versions({ item, job, latest, shown, disabled, onChoose }: VersionsProps) {
  const versions = useQuery({
    queryKey: ["versions", job.job_id, job.run, latest, job.version],
    queryFn: () => api.versions(job.job_id, item.token),
    enabled: latest > 0,
  });
  if (latest === 0) return null;
  return (
    <MenuTrigger>
      <Button className="button small" isDisabled={disabled}>
        <Icon name="history" size={16} />
        {nameOf(shown)}
      </Button>
      <Popover className="popover" placement="bottom end">
        <Menu
          className="menu versions"
          aria-label={text.title}
          selectionMode="single"
          selectedKeys={[`${shown}`]}
          disabledKeys={versions.data?.filter(({ error }) => error !== null).map(({ version }) => `${version}`) ?? []}
          onAction={(key) => onChoose(Number(key))}
        >
          {(versions.data ?? []).toReversed().map((one) => (
            <MenuItem
              key={one.version}
              id={`${one.version}`}
              className="menu-item"
              textValue={`${nameOf(one.version)}, ${aboutOf(one)}`}
            >
              <Text slot="label">{nameOf(one.version)}</Text>
              <Text slot="description" className="soft">
                {aboutOf(one)}
              </Text>
            </MenuItem>
          ))}
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}

interface LookingProps {
  shown: number;
  onLatest: () => void;
  /** Where it may be brought back. */
  onRestore: (() => void) | null;
  busy: boolean;
}

/** Says that this is not the latest. */
export function Looking({ shown, onLatest, onRestore, busy }: LookingProps) {
  return (
    <div className="notice looking">
      <p>{text.looking(nameOf(shown))}</p>
      <Button className="button small" onPress={onLatest}>
        {text.latest}
      </Button>
      {onRestore && (
        <Button className="button small primary" isDisabled={busy} onPress={onRestore}>
          {text.restore}
        </Button>
      )}
    </div>
  );
}
