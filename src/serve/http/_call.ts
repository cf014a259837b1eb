// One request on its way through the server, and the routes that it may take.

import type { HttpLimits } from "../../limits.ts";
import type { Service } from "../service.ts";
import type { ObjectSchema, Schema } from "./_fields.ts";

/** What Bun tells of a WebSocket. */
export interface Session {
  /** Whether a speech is under way. */
  readonly speaks: boolean;
  opened(socket: Socket): void;
  received(message: string | Uint8Array): void;
  drained(): void;
  closed(): void;
}
export type Socket = Bun.ServerWebSocket<Session>;

export interface Call {
  request: Request;
  service: Service;
  limits: HttpLimits;
  /** Who asks: an address. */
  client: string;
  /** What stands in the path for `{id}`, decoded. */
  id: string;
  /** For the server's log. */
  warn(line: string): void;
  /** Whether the connection is closed where nothing is sent or received for a while. At first it is. */
  closesIdle(is: boolean): void;
  /** Makes a WebSocket of the connection. False: the client has not asked for one. */
  upgrade(session: Session): boolean;
  /** WebSockets of the server. */
  sockets: Set<Session>;
}

/** An answer, as the description of the server shows it. */
export interface AnswerDoc {
  description: string;
  /** Content-Type -> what is in it. */
  content?: Readonly<Record<string, Schema>>;
}

export interface Route {
  method: "GET" | "POST" | "DELETE";
  /** With `{id}` for a name. */
  path: string;
  /** Whether no token is needed. */
  isOpen?: boolean;
  /** Whether a GET has effects, so that pages of other sites may not send it. Other methods always have. */
  changes?: boolean;
  summary: string;
  description?: string;
  /** Name -> what the description shows beside it. */
  schemas?: Readonly<Record<string, ObjectSchema>>;
  /** Content-Type -> what is in the body. */
  body?: Readonly<Record<string, Schema>>;
  answers: Readonly<Record<number, AnswerDoc>>;
  /** Status of errors that only this route gives, beside those that all may give. */
  errors: readonly number[];
  /** Null: the connection has become a WebSocket. */
  run(call: Call): Response | null | Promise<Response>;
}
