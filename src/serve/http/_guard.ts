// Who may ask: tokens, names of the host, and pages of other sites.

import { hostname } from "node:os";
import { newHash } from "../../io/hash.ts";
import { ApiError } from "./_errors.ts";

export interface GuardOptions {
  /** Null: nobody needs one. */
  token: string | null;
  /** Names, beside this machine's own, that the server may be called by. */
  hosts: readonly string[];
  /** Origins whose pages may ask, such as "https://example.org"; "*": all. */
  origins: readonly string[];
  /** Whether only programs of this machine can connect, which have no pages: any host will do. */
  isLocalSocket: boolean;
}

/** A token in a WebSocket's subprotocols: pages cannot set its headers. In base64url, without "=". */
const TOKEN_PROTOCOL = "tts.token.";
/** Names of hosts look like neither of these. */
const IP = /^(\d{1,3}(\.\d{1,3}){3}|.*:.*)$/;
const PREFLIGHT_SECONDS = "600";
/** Headers of answers that pages of other origins may read. */
const EXPOSED = "retry-after, x-tts-seed, x-tts-ignored";

export class Guard {
  private readonly hosts: ReadonlySet<string>;
  private readonly digest: Buffer | null;

  constructor(private readonly options: GuardOptions) {
    const own = hostname().toLowerCase();
    const given = options.hosts.map((host) => nameIn(host) ?? host);
    this.hosts = new Set(["localhost", own, `${own}.local`, ...given]);
    this.digest = options.token === null ? null : digestOf(options.token);
  }

  /**
   * The name that a client calls the server by must be one of its own: a page whose name was made to point
   * here is of another site.
   * @throws ApiError 400, 403
   */
  checkHost(request: Request): void {
    const given = request.headers.get("host") ?? "";
    if (this.options.isLocalSocket) return;
    const name = nameIn(given);
    if (name === null) throw new ApiError(400, "invalid_host", "the Host header is no name with a port");
    if (!IP.test(name) && !name.endsWith(".localhost") && !this.hosts.has(name))
      throw new ApiError(
        403,
        "host_unknown",
        `this server is not called ${name}; start it with tts serve --allow-host ${name}`,
      );
  }

  /** @throws ApiError 401 */
  checkToken(request: Request): void {
    if (this.digest === null) return;
    const given = tokenIn(request.headers);
    if (given !== null && crypto.timingSafeEqual(digestOf(given), this.digest)) return;
    const message = given === null ? "a token is needed: Authorization: Bearer TOKEN" : "the token is wrong";
    const headers = { "www-authenticate": "Bearer" };
    throw new ApiError(401, "invalid_api_key", message, { headers });
  }

  /**
   * Pages of other sites may neither speak nor change anything. Programs send none of these headers.
   * @throws ApiError 403
   */
  checkOrigin(request: Request): void {
    const origin = request.headers.get("origin");
    const site = request.headers.get("sec-fetch-site");
    if (
      origin === null
        ? site === null || site === "same-origin" || site === "none"
        : this.isOwn(request, origin)
    )
      return;
    if (origin !== null && this.allows(origin)) return;
    throw new ApiError(403, "origin_refused", `pages of ${origin ?? "other sites"} may not ask this server`);
  }

  private isOwn(request: Request, origin: string): boolean {
    return URL.canParse(origin) && new URL(origin).host === (request.headers.get("host") ?? "").toLowerCase();
  }

  private allows(origin: string): boolean {
    return this.options.origins.includes("*") || this.options.origins.includes(origin);
  }

  /** The answer to a browser that asks what a page may do; null where it is no such question. */
  preflight(request: Request): Response | null {
    const { headers, method } = request;
    if (method !== "OPTIONS" || !headers.has("access-control-request-method")) return null;
    const origin = headers.get("origin") ?? "";
    if (!this.allows(origin))
      throw new ApiError(403, "origin_refused", `pages of ${origin} may not ask this server`);
    return new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-methods": "GET, POST, DELETE",
        "access-control-allow-headers": headers.get("access-control-request-headers") ?? "",
        "access-control-max-age": PREFLIGHT_SECONDS,
      },
    });
  }

  /** Lets pages of allowed origins read an answer. */
  share(request: Request, response: Response): void {
    if (this.options.origins.length === 0) return;
    response.headers.append("vary", "Origin");
    const origin = request.headers.get("origin");
    if (origin === null || !this.allows(origin)) return;
    response.headers.set("access-control-allow-origin", origin);
    response.headers.set("access-control-expose-headers", EXPOSED);
  }
}

const digestOf = (token: string) => Buffer.from(newHash().update(token).digest());

function tokenIn(headers: Headers): string | null {
  const [, bearer] = /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "") ?? [];
  if (bearer !== undefined) return bearer;
  const protocols = (headers.get("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
  const offered = protocols.find((name) => name.startsWith(TOKEN_PROTOCOL));
  return offered === undefined
    ? null
    : Buffer.from(offered.slice(TOKEN_PROTOCOL.length), "base64url").toString();
}

/** The name in a Host header, in small letters and without brackets; null where it has none. */
function nameIn(host: string): string | null {
  const [, bracketed, plain] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::\d{1,5})?$/i.exec(host) ?? [];
  return (bracketed ?? plain)?.toLowerCase().replace(/\.$/, "") ?? null;
}
