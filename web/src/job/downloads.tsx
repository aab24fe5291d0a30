import { Button, Menu, MenuItem, MenuTrigger, Popover } from "react-aria-components";
import type { Job } from "../../generated/messages";
import { save } from "../api";
import { Icon } from "../icons";
import { strings } from "../strings";
import "../styles/menu.css";

const text = strings.jobs;

interface DownloadProps {
  job: Job;
  token: string;
  onError: (sentence: string | null) => void;
}

/** Every format that the job has. */
export function DownloadMenu({ job, token, onError }: DownloadProps) {
  const take = (format: string) => {
    onError(null);
    save(job, token, format).catch((error: Error) => onError(error.message));
  };
  return (
    <MenuTrigger>
      <Button className="button small" aria-label={text.downloadOf(job.filename)}>
        <Icon name="download" size={18} />
        {text.download}
      </Button>
      <Popover className="popover" placement="bottom start">
        <Menu className="menu" aria-label={text.downloadOf(job.filename)} onAction={(key) => take(String(key))}>
          {formatsOf(job).map((format) => (
            <MenuItem key={format} id={format} className="menu-item">
              {text.formats[format] ?? format}
            </MenuItem>
          ))}
        </Menu>
      </Popover>
    </MenuTrigger>
  );
}

const ORDER = ["srt", "vtt", "txt", "json"];

export function formatsOf(job: Job): string[] {
  return Object.keys(job.downloads).sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
}
