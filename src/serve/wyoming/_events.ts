// The wire of Wyoming: an event is a line of JSON, then `data_length` bytes of JSON, then `payload_length`
// bytes. Bytes to events and back; what an event means is said elsewhere.

import { TtsError } from "../../errors.ts";
import { WYOMING_LIMITS } from "../../limits.ts";

export interface WyomingEvent {
  type: string;
  data: Readonly<Record<string, unknown>>;
}

/** Bytes that are no event; nothing behind them can be understood. */
const unreadable = (what: string) => new TtsError("REQUEST_INVALID", what);

interface Header {
  type: string;
  inline: Record<string, unknown>;
  dataBytes: number;
  payloadBytes: number;
}

const NEWLINE = 10;

/** Takes bytes that are cut anywhere. Payloads are skipped: no event for a speaking server has one. */
export class EventReader {
  private held: Uint8Array[] = [];
  private heldBytes = 0;
  /** Whose blocks are still to come. */
  private header: Header | null = null;
  private skippedBytes = 0;

  /** @throws TtsError REQUEST_INVALID, in the iteration */
  *push(bytes: Uint8Array): Generator<WyomingEvent> {
    for (let rest = bytes; rest.length > 0; ) {
      const taken = this.header === null ? this.takeLine(rest) : this.takeBlock(this.header, rest);
      rest = rest.subarray(taken);
      const { header } = this;
      if (header === null || this.heldBytes < header.dataBytes || this.skippedBytes < header.payloadBytes)
        continue;
      const block = header.dataBytes === 0 ? {} : objectIn(this.release(), "a data block");
      [this.header, this.skippedBytes] = [null, 0];
      yield { type: header.type, data: { ...header.inline, ...block } };
    }
  }

  private takeLine(bytes: Uint8Array): number {
    const end = bytes.indexOf(NEWLINE);
    this.hold(end < 0 ? bytes : bytes.subarray(0, end));
    if (this.heldBytes > WYOMING_LIMITS.headerBytes)
      throw unreadable(`a header is longer than ${WYOMING_LIMITS.headerBytes} bytes`);
    if (end < 0) return bytes.length;
    this.header = headerOf(objectIn(this.release(), "a header"));
    return end + 1;
  }

  private takeBlock({ dataBytes, payloadBytes }: Header, bytes: Uint8Array): number {
    const data = bytes.subarray(0, dataBytes - this.heldBytes);
    this.hold(data);
    const skipped = Math.min(bytes.length - data.length, payloadBytes - this.skippedBytes);
    this.skippedBytes += skipped;
    return data.length + skipped;
  }

  private hold(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.held.push(bytes);
    this.heldBytes += bytes.length;
  }

  private release(): Uint8Array {
    const bytes = Buffer.concat(this.held);
    [this.held, this.heldBytes] = [[], 0];
    return bytes;
  }
}

function objectIn(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw unreadable(`${what} is no JSON in UTF-8`);
  }
  if (!isObject(value)) throw unreadable(`${what} is no object`);
  return value;
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function headerOf(given: Record<string, unknown>): Header {
  const { type } = given;
  if (typeof type !== "string") throw unreadable("a header has no type");
  const inline = given.data ?? {};
  if (!isObject(inline)) throw unreadable("the data of a header are no object");
  const dataBytes = lengthIn(given, "data_length", WYOMING_LIMITS.dataBytes);
  return {
    type,
    inline,
    dataBytes,
    payloadBytes: lengthIn(given, "payload_length", WYOMING_LIMITS.payloadBytes),
  };
}

function lengthIn(given: Record<string, unknown>, name: string, most: number): number {
  const length = given[name] ?? 0;
  if (typeof length !== "number" || !Number.isSafeInteger(length) || length < 0)
    throw unreadable(`${name} is no number of bytes`);
  if (length > most) throw unreadable(`${name} is ${length}, more than ${most}`);
  return length;
}

/**
 * Data always go into the block: Python's readers take a line of 64 KiB at most, and a longer one for the end
 * of the connection.
 */
export function eventBytes(type: string, data?: object, payload?: Uint8Array): Uint8Array {
  const block = data === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(data));
  const header = {
    type,
    data_length: block.length === 0 ? undefined : block.length,
    payload_length: payload?.length,
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), block, payload ?? Buffer.alloc(0)]);
}
