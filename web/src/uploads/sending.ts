/** One file over one connection, from where it is. It ends by itself when nothing gets through any more. */
import { Upload } from "tus-js-client";
import { addressOf, opened, type Record, Speed } from "./records";

/** What is told of it; after `done` or `broken` nothing more. */
export interface Told {
  /** Where the upload is, with its token. */
  made(url: string): void;
  progress(sent: number, bytesPerSecond: number | null): void;
  done(): void;
  /** With the server's answer; 0 where there was none. */
  broken(status: number, body: string): void;
}

/** Without a byte in so long a connection is lost, though the browser has not noticed. */
const STALLED_MS = 30_000;

export class Sending {
  private readonly upload: Upload;
  private readonly speed = new Speed();
  private url: string | null;
  private pulse: ReturnType<typeof setTimeout> | undefined;

  constructor(
    file: File,
    { key, name, size, url }: Record,
    private readonly told: Told,
  ) {
    this.url = url;
    this.upload = new Upload(file, {
      endpoint: "/api/uploads",
      uploadUrl: url && addressOf(url),
      metadata: { filename: name },
      retryDelays: null,
      storeFingerprintForResuming: false,
      onBeforeRequest: (request) => {
        if (request.getMethod() === "POST") request.setHeader("Idempotency-Key", key);
        else if (this.url) request.setHeader("Authorization", `Bearer ${opened(this.url).upload_token}`);
      },
      onUploadUrlAvailable: () => {
        if (!this.upload.url || this.url !== null) return;
        this.url = this.upload.url;
        this.upload.url = addressOf(this.url); // its token goes where no log and no history keeps it
        told.made(this.url);
      },
      onProgress: (sent) => {
        this.speed.add(performance.now(), sent);
        this.expectMore(sent < size);
        told.progress(sent, this.speed.bytesPerSecond);
      },
      onSuccess: () => {
        this.expectMore(false);
        told.done();
      },
      onError: (error) => {
        this.expectMore(false);
        const answer = "originalResponse" in error ? error.originalResponse : null;
        told.broken(answer?.getStatus() ?? 0, answer?.getBody() ?? "");
      },
    });
    this.upload.start();
    this.expectMore(true);
  }

  /** Nothing is told from here on. */
  stop(): void {
    this.expectMore(false);
    void this.upload.abort(false);
  }

  /** The connection is lost: the browser itself takes minutes to notice. */
  cut(): void {
    this.stop();
    this.told.broken(0, "");
  }

  private expectMore(more: boolean): void {
    clearTimeout(this.pulse);
    if (more) this.pulse = setTimeout(() => this.cut(), STALLED_MS);
  }
}

/** Have the server forget an upload. */
export function ended(url: string): Promise<Response> {
  const headers = { "Tus-Resumable": "1.0.0", Authorization: `Bearer ${opened(url).upload_token}` };
  return fetch(addressOf(url), { method: "DELETE", headers, keepalive: true });
}
