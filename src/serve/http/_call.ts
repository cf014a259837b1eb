// One request on its way through the server, and the routes that it may take.

import type { Service } from "../service.ts";
import type { Schema } from "./_fields.ts";

export interface Call {
  request: Request;
  service: Service;
  /** Who asks: an address. */
  client: string;
  /** What stands in the path for `{id}`, decoded. */
  id: string;
  /** For the server's log. */
  warn(line: string): void;
  /** From now on, nothing need be sent for the connection to stay. */
  takeTime(): void;
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
  summary: string;
  /** Content-Type -> what is in the body. */
  body?: Readonly<Record<string, Schema>>;
  answers: Readonly<Record<number, AnswerDoc>>;
  /** Status of errors that only this route gives, beside those that all may give. */
  errors: readonly number[];
  run(call: Call): Response | Promise<Response>;
}
