// The bodies of requests: read in time and within bounds.

import type { Call } from "./_call.ts";
import { ApiError, tooLarge, tooSlow } from "./_errors.ts";

/** Without its parameters, in small letters. */
export const mediaType = (request: Request): string =>
  (request.headers.get("content-type") ?? "").split(";", 1)[0].trim().toLowerCase();

/**
 * The JSON of a request. It must say that it is JSON: pages of other sites may send other types unasked.
 * @throws ApiError 400, 408, 413, 415
 */
export async function readJson({ limits, request }: Call): Promise<unknown> {
  const type = mediaType(request);
  if (type !== "application/json")
    throw new ApiError(
      415,
      "unsupported_media_type",
      `the body is ${type === "" ? "of no type" : type}; send JSON with Content-Type: application/json`,
    );
  const bytes = await readBody(request, limits.jsonBytes, limits.jsonMs, limits.droppedBytes);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new ApiError(400, "invalid_json", "the body is no JSON in UTF-8");
  }
}

/**
 * @param most bytes
 * @param mostDropped a longer body is not read on
 * @throws ApiError 408 where it takes longer than `withinMs`, 413
 */
export async function readBody(
  request: Request,
  most: number,
  withinMs: number,
  mostDropped: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const promised = Number(request.headers.get("content-length") ?? 0);
  if (promised > mostDropped) throw tooLarge(most);
  if (request.body === null) return new Uint8Array(0);
  const reader = request.body.getReader();
  const parts: Uint8Array[] = [];
  let total = 0;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void reader.cancel().catch(() => {});
  }, withinMs);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (late) throw tooSlow(withinMs);
      if (done && total <= most) return Buffer.concat(parts);
      total += value?.length ?? 0;
      if (total > most) parts.length = 0;
      else parts.push(value!);
      if (done || total > mostDropped) throw tooLarge(most);
    }
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError(400, "body_cut_short", "the body is cut short");
  } finally {
    clearTimeout(timer);
    void reader.cancel().catch(() => {});
  }
}
