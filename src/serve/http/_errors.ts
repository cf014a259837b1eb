// Errors as OpenAI's clients read them: {error: {message, type, param, code}}, one line, without local paths.

import { asTtsError, type ErrorCode } from "../../errors.ts";
import { SERVE_LIMITS } from "../../limits.ts";
import { oneLine } from "../one-line.ts";
import { Refusal, type RefusalReason } from "../service.ts";

export interface ErrorBody {
  message: string;
  type: "invalid_request_error" | "rate_limit_error" | "server_error";
  /** The field that is wrong; null where it is none alone. */
  param: string | null;
  code: string;
}

interface Details {
  param?: string;
  headers?: Readonly<Record<string, string>>;
}

/** An answer that is no success. */
export class ApiError extends Error {
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;

  /** @param code for programs, in lower case */
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    { param, headers = {} }: Details = {},
  ) {
    super(message);
    this.param = param ?? null;
    this.headers = headers;
  }

  get body(): { error: ErrorBody } {
    const { code, message, param } = this;
    return { error: { message: oneLine(message), type: this.type, param, code } };
  }

  private get type(): ErrorBody["type"] {
    if (this.status === 429) return "rate_limit_error";
    return this.status >= 500 ? "server_error" : "invalid_request_error";
  }

  get response(): Response {
    return Response.json(this.body, { status: this.status, headers: this.headers });
  }
}

/** A value that cannot be used. @param param the field */
export const invalid = (param: string, what: string, hint: string): ApiError =>
  new ApiError(400, "invalid_value", `${what}; ${hint}`, { param });

export const tooLarge = (most: number): ApiError =>
  new ApiError(413, "body_too_large", `the body has more than ${most} bytes`, {
    headers: { connection: "close" },
  });

/** The status of what a request may cause, and the field that it comes from. */
const CAUSED: Partial<Record<ErrorCode, readonly [status: number, param?: string]>> = {
  TEXT_EMPTY: [400, "input"],
  TEXT_TOO_LONG: [400, "input"],
  SPEAKER_UNKNOWN: [404, "voice"],
  VOICE_UNKNOWN: [404, "voice"],
  LANGUAGE_UNKNOWN: [400, "language"],
  MODEL_UNSUITABLE: [400, "model"],
  USAGE: [400],
  INPUT_UNREADABLE: [400, "file"],
  REFERENCE_UNUSABLE: [400, "file"],
};
/** What another try may mend: the engine is opened anew. */
const PASSING: readonly ErrorCode[] = ["STAGE_DIED", "STAGE_TIMEOUT", "NPU_FAILED", "CANCELLED"];
const REFUSED: Readonly<Record<RefusalReason, number>> = { opening: 503, busy: 503, share: 429, ending: 503 };

/**
 * Anything thrown as an answer.
 * @param warn told of what the client is not told: causes in the server, which may name paths
 */
export function asApiError(thrown: unknown, warn: (line: string) => void): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (thrown instanceof Refusal) {
    const { message, reason, retryAfterSeconds } = thrown;
    const headers = { "retry-after": String(retryAfterSeconds) };
    return new ApiError(REFUSED[reason], reason === "share" ? "rate_limit_exceeded" : reason, message, {
      headers,
    });
  }
  const error = asTtsError(thrown);
  const [status, param] = CAUSED[error.code] ?? [];
  const code = error.code.toLowerCase();
  if (status !== undefined) return new ApiError(status, code, error.inOneLine, { param });
  if (PASSING.includes(error.code)) {
    const headers = { "retry-after": String(SERVE_LIMITS.openingSeconds) };
    return new ApiError(503, code, "the work ended early; try it again", { headers });
  }
  warn(oneLine(error.inOneLine));
  return new ApiError(500, code, "the server failed; its log says why");
}

export const tooSlow = (withinMs: number): ApiError =>
  new ApiError(408, "request_timeout", `the body was not whole after ${withinMs / 1000} s`, {
    headers: { connection: "close" },
  });
