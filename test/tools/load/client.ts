// A client of HTTP on a bare socket, for what libraries hide: when the first sound comes, whether an answer
// is whole, readers that are slow or vanish, and requests that are none.

import { connect, type Socket } from "node:net";

const LONGEST_MS = 180_000;
const HEAD_END = "\r\n\r\n";

/** A connection that is open. What is waited for longer than LONGEST_MS is cut off. */
export async function dial(url: string): Promise<Wire> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  socket.on("error", () => {}); // the reader sees the end
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", () => resolve());
    socket.once("error", reject);
  });
  return new Wire(socket);
}

/** A request of the speech API, as bytes. */
export function speechRequest(body: object): string {
  const json = JSON.stringify(body);
  return [
    "POST /v1/audio/speech HTTP/1.1",
    "host: localhost",
    "content-type: application/json",
    `content-length: ${Buffer.byteLength(json)}`,
    "connection: close",
    "",
    json,
  ].join("\r\n");
}

export interface Head {
  status: number;
  headers: ReadonlyMap<string, string>;
}

export class Wire {
  private readonly chunks: AsyncIterator<Buffer>;
  private pending: Buffer = Buffer.alloc(0);
  private readonly timer: Timer;

  constructor(private readonly socket: Socket) {
    this.chunks = socket[Symbol.asyncIterator]();
    this.timer = setTimeout(() => socket.destroy(), LONGEST_MS);
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** The first line and the headers of an answer. @throws Error where the connection ends before */
  async head(): Promise<Head> {
    const [first, ...lines] = (await this.until(HEAD_END)).split("\r\n");
    const headers = lines.map((line) => [
      line.slice(0, line.indexOf(":")).toLowerCase(),
      line.slice(line.indexOf(":") + 1).trim(),
    ]);
    return {
      status: Number(first.split(" ")[1]),
      headers: new Map(headers as [string, string][]),
    };
  }

  /** The body as it comes. @throws Error where it is cut short */
  async *body({ headers }: Head): AsyncGenerator<Uint8Array> {
    const length = headers.get("content-length");
    if (length !== undefined) {
      yield* this.bytes(Number(length));
      return;
    }
    for (;;) {
      const size = Number.parseInt(await this.until("\r\n"), 16);
      if (size === 0) return;
      yield* this.bytes(size);
      await this.until("\r\n");
    }
  }

  /** Reads until the other side closes. */
  async rest(): Promise<void> {
    while (await this.more());
  }

  /** Goes away, whatever is under way. */
  leave(): void {
    clearTimeout(this.timer);
    this.socket.destroy();
  }

  private async *bytes(count: number): AsyncGenerator<Uint8Array> {
    for (let left = count; left > 0; ) {
      if (this.pending.length === 0) await this.need();
      const part = this.pending.subarray(0, left);
      this.pending = this.pending.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  private async until(mark: string): Promise<string> {
    for (;;) {
      const at = this.pending.indexOf(mark, 0, "latin1");
      if (at >= 0) {
        const text = this.pending.toString("latin1", 0, at);
        this.pending = this.pending.subarray(at + mark.length);
        return text;
      }
      await this.need();
    }
  }

  private async need(): Promise<void> {
    if (!(await this.more())) throw new Error("the connection has ended early");
  }

  private async more(): Promise<boolean> {
    const { done, value } = await this.chunks.next().catch(() => ({ done: true as const, value: undefined }));
    if (done || value === undefined) return false;
    this.pending = this.pending.length === 0 ? value : Buffer.concat([this.pending, value]);
    return true;
  }
}
