// A Wyoming client by the protocol's bytes alone: it shares no code with the server.

import { connect, type Socket } from "node:net";

export interface Heard {
  type: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever a server says
  data: any;
  payload: Buffer;
}

/** An event as a client writes it. */
export function bytesOf(type: string, data?: object, payload = ""): Buffer {
  const block = data === undefined ? "" : JSON.stringify(data);
  const lengths = { data_length: Buffer.byteLength(block), payload_length: Buffer.byteLength(payload) };
  return Buffer.from(`${JSON.stringify({ type, ...lengths })}\n${block}${payload}`);
}

export class Client {
  private readonly events: Heard[] = [];
  private rest: Buffer = Buffer.alloc(0);
  private hasEnded = false;
  private wake = () => {};

  private constructor(readonly socket: Socket) {
    socket.on("data", (bytes) => {
      this.rest = Buffer.concat([this.rest, bytes as Buffer]);
      this.parse();
      this.wake();
    });
    const over = () => {
      this.hasEnded = true;
      this.wake();
    };
    socket.on("end", over).on("close", over).on("error", over);
  }

  static async to(where: { port: number; host?: string } | { path: string }): Promise<Client> {
    const options = "path" in where ? where : { host: "127.0.0.1", ...where };
    const socket = connect({ ...options, allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve()).once("error", reject);
    });
    return new Client(socket);
  }

  private parse(): void {
    for (;;) {
      const end = this.rest.indexOf(10);
      if (end < 0) return;
      const header = JSON.parse(this.rest.toString("utf8", 0, end));
      // Python's readers merge both, but a long line ends them
      if (header.data !== undefined) throw new Error("data stand inline");
      const dataEnd = end + 1 + (header.data_length ?? 0);
      const payloadEnd = dataEnd + (header.payload_length ?? 0);
      if (this.rest.length < payloadEnd) return;
      const data = dataEnd > end + 1 ? JSON.parse(this.rest.toString("utf8", end + 1, dataEnd)) : {};
      this.events.push({ type: header.type, data, payload: this.rest.subarray(dataEnd, payloadEnd) });
      this.rest = this.rest.subarray(payloadEnd);
    }
  }

  say(type: string, data?: object): this {
    return this.write(bytesOf(type, data));
  }

  write(bytes: Uint8Array | string): this {
    this.socket.write(bytes);
    return this;
  }

  /** Null when the server has ended the connection. */
  async next(): Promise<Heard | null> {
    while (this.events.length === 0 && !this.hasEnded)
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    return this.events.shift() ?? null;
  }

  /** All events up to the first of this type, or up to the end. */
  async until(type: string): Promise<Heard[]> {
    const heard: Heard[] = [];
    for (let event = await this.next(); event !== null; event = await this.next()) {
      heard.push(event);
      if (event.type === type) break;
    }
    return heard;
  }

  /** All that the server still says. */
  toTheEnd(): Promise<Heard[]> {
    return this.until("");
  }

  /** Whether a connection that ended now would end inside an event, behind its header. */
  get isInsideEvent(): boolean {
    return this.rest.includes(10);
  }

  leave(): void {
    this.socket.destroy();
  }
}

export const typesOf = (events: readonly Heard[]) =>
  events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);

export const soundOf = (events: readonly Heard[]) => Buffer.concat(events.map(({ payload }) => payload));
