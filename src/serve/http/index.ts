// The HTTP server: OpenAI's speech API and what goes beyond it, on Bun.serve. Reaches models through the
// service alone.

import { openEncoder } from "../../audio/encode/open.ts";
import { systemCode, TtsError } from "../../errors.ts";
import { authority } from "../../io/address.ts";
import { HTTP_LIMITS, type HttpLimits, SERVE_LIMITS } from "../../limits.ts";
import { SAMPLE_RATE_HZ, type Tell } from "../../types.ts";
import type { Service } from "../service.ts";
import type { Call, Route, Session } from "./_call.ts";
import { ApiError, asApiError } from "./_errors.ts";
import { Guard } from "./_guard.ts";
import { metrics, RequestCounts } from "./_metrics.ts";
import { MODEL_ROUTES } from "./_models.ts";
import { openApi } from "./_openapi.ts";
import { SOCKET_HANDLERS, SOCKET_ROUTES } from "./_socket.ts";
import { SPEECH_ROUTES } from "./_speech.ts";
import { VOICE_ROUTES } from "./_voices.ts";

/**
 * An address and a port (0: any that is free), or the path of a Unix socket. `isForwarded`: what comes
 * through it may come from anywhere.
 */
export type HttpPlace = { host: string; port: number } | { socket: string; isForwarded?: boolean };

export type HttpOptions = HttpPlace & {
  /** Null: nobody needs one. */
  token: string | null;
  /** Names, beside this machine's own, that clients may call the server by. */
  hosts: readonly string[];
  /** Origins whose pages may ask, such as "https://example.org"; "*": all. */
  origins: readonly string[];
  tell: Tell;
  /** The files of a page, which are given out without a token; null for a path that is none of them. */
  page?: (path: string) => Response | null;
  version?: string;
  limits?: Partial<HttpLimits>;
};

export interface HttpServer {
  readonly url: string;
  /** Takes nothing more on, waits a little for what is under way, and closes all connections. */
  stop(): Promise<void>;
}

/** @throws TtsError OUTPUT_FAILED where the port or socket cannot be had */
export function serveHttp(service: Service, options: HttpOptions): HttpServer {
  const handler = new Handler(service, options);
  const server = listen(handler, options);
  warmUp();
  return {
    url: "socket" in options ? `unix:${options.socket}` : server.url.origin,
    async stop() {
      void server.stop();
      const deadline = performance.now() + SERVE_LIMITS.endMs;
      const isBusy = () => server.pendingRequests > 0 || handler.socketsSpeak;
      while (isBusy() && performance.now() < deadline) await Bun.sleep(SERVE_LIMITS.endPollMs);
      await server.stop(true);
    },
  };
}

/** Most clients ask for mp3, and compiling its encoder takes 0.1 s. A failure shows where it is asked for. */
function warmUp(): void {
  openEncoder("mp3", SAMPLE_RATE_HZ).then(
    (encoder) => encoder.close(),
    () => {},
  );
}

function listen(handler: Handler, at: HttpPlace): Bun.Server<Session> {
  const common = {
    development: false,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER, // the routes have their own limits
    websocket: SOCKET_HANDLERS,
    fetch: (request: Request, server: Bun.Server<Session>) => handler.answer(request, server),
  };
  try {
    if ("socket" in at) return Bun.serve({ ...common, unix: at.socket });
    const hostname = at.host.replace(/^\[(.*)\]$/, "$1");
    // without development, two servers could else have one port
    return Bun.serve({
      ...common,
      hostname,
      port: at.port,
      reusePort: false,
      idleTimeout: HTTP_LIMITS.idleSeconds,
    });
  } catch (cause) {
    const name = "socket" in at ? at.socket : authority(at.host, at.port);
    const hint = "socket" in at ? "choose another {socket}" : "choose another {port}";
    throw new TtsError("OUTPUT_FAILED", `cannot listen on ${name}: ${reason(cause)}`, hint, { cause });
  }
}

const SWITCHED = 101;
/** What proxies log where nobody waits for the answer. */
const CLIENT_GONE = 499;
const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program does",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "no permission",
};

const reason = (cause: unknown) =>
  REASONS[systemCode(cause)] ?? (cause instanceof Error ? cause.message : String(cause));

class Handler {
  private readonly guard: Guard;
  private readonly limits: HttpLimits;
  private readonly counts = new RequestCounts();
  private readonly sockets = new Set<Session>();
  private readonly routes: readonly Route[];
  private readonly patterns: ReadonlyMap<Route, RegExp>;

  constructor(
    private readonly service: Service,
    private readonly options: HttpOptions,
  ) {
    this.limits = { ...HTTP_LIMITS, ...options.limits };
    this.guard = new Guard({
      ...options,
      isLocalSocket: "socket" in options && options.isForwarded !== true,
    });
    this.routes = [...SPEECH_ROUTES, ...SOCKET_ROUTES, ...MODEL_ROUTES, ...VOICE_ROUTES, ...this.ownRoutes()];
    this.patterns = new Map(this.routes.map((route) => [route, patternOf(route.path)]));
  }

  get socketsSpeak(): boolean {
    return [...this.sockets].some(({ speaks }) => speaks);
  }

  /** Those that tell of the server itself. */
  private ownRoutes(): Route[] {
    const { counts, options, service } = this;
    return [
      {
        method: "GET",
        path: "/metrics",
        summary: "Figures for Prometheus",
        answers: { 200: { description: "In its text form.", content: { "text/plain": { type: "string" } } } },
        errors: [],
        run: () => metrics(service, counts),
      },
      {
        method: "GET",
        path: "/openapi.json",
        summary: "This description",
        answers: {
          200: { description: "OpenAPI 3.1.", content: { "application/json": { type: "object" } } },
        },
        errors: [],
        run: () => Response.json(openApi(this.routes, options.version ?? "0")),
      },
    ];
  }

  async answer(request: Request, server: Bun.Server<Session>): Promise<Response | undefined> {
    const [path] = pathOf(request.url).split("?", 1);
    const matching = this.routes.filter((route) => this.patterns.get(route)!.test(path));
    const method = request.method === "HEAD" ? "GET" : request.method;
    const route = matching.find((one) => one.method === method);
    let response: Response | null;
    try {
      response = await this.guarded(request, server, path, route, matching);
    } catch (thrown) {
      const warn = request.signal.aborted ? () => {} : this.options.tell.warn;
      response = asApiError(thrown, warn).response;
    }
    const status = request.signal.aborted ? CLIENT_GONE : (response?.status ?? SWITCHED);
    this.counts.add(route?.method ?? "", route?.path ?? "", status);
    this.options.tell.debug(`${request.method} ${path} ${status}`);
    if (response === null) return undefined;
    const { headers } = response;
    this.guard.share(request, response);
    headers.set("x-content-type-options", "nosniff");
    if (!headers.has("cache-control")) headers.set("cache-control", "no-store");
    return response;
  }

  private guarded(
    request: Request,
    server: Bun.Server<Session>,
    path: string,
    route: Route | undefined,
    matching: readonly Route[],
  ): Response | null | Promise<Response | null> {
    const { guard, limits, service, options } = this;
    guard.checkHost(request);
    const preflight = guard.preflight(request);
    if (preflight !== null) return preflight;
    const isReading = request.method === "GET" || request.method === "HEAD";
    const file = isReading ? (options.page?.(path) ?? null) : null;
    if (file !== null) return file;
    if (route?.isOpen !== true) guard.checkToken(request);
    if (route === undefined) throw nothingAt(request.method, path, matching);
    if (!isReading || route.changes === true) guard.checkOrigin(request);
    const call: Call = {
      request,
      service,
      limits,
      client: server.requestIP(request)?.address ?? "local",
      id: idIn(path, this.patterns.get(route)!),
      warn: options.tell.warn,
      closesIdle: (is) => server.timeout(request, is ? limits.idleSeconds : 0),
      sockets: this.sockets,
      upgrade: (session) => server.upgrade(request, { data: session, headers: subprotocol(request) }),
    };
    return this.run(route, call);
  }

  /**
   * Bodies and speeches have a patience of their own, for Bun counts a body that comes slowly as idle. A
   * route that has answered ends that by itself.
   */
  private async run(route: Route, call: Call): Promise<Response | null> {
    if (route.method === "POST") call.closesIdle(false);
    try {
      return await route.run(call);
    } catch (thrown) {
      call.closesIdle(true);
      throw thrown;
    }
  }
}

/** The path and the query; a request need not name its host in a way that URLs can have. */
const pathOf = (url: string) => url.replace(/^[a-z]+:\/\/[^/]*/i, "");

const patternOf = (path: string) =>
  new RegExp(`^${path.replace(/[.]/g, "\\.").replace("{id}", "(?<id>.+)")}$`);

/** @throws ApiError 404 for a name that is not encoded well */
function idIn(path: string, pattern: RegExp): string {
  const id = pattern.exec(path)?.groups?.id ?? "";
  try {
    return decodeURIComponent(id);
  } catch {
    throw new ApiError(404, "not_found", "the name in the path is not encoded well");
  }
}

/** The one that the server takes of those that a browser offers, which wants one of them. */
function subprotocol({ headers }: Request): Record<string, string> {
  const offered = (headers.get("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
  const name = offered.includes("tts") ? "tts" : offered[0];
  return name === "" ? {} : { "sec-websocket-protocol": name };
}

function nothingAt(method: string, path: string, matching: readonly Route[]): ApiError {
  const allowed = matching.flatMap((route) => (route.method === "GET" ? ["GET", "HEAD"] : [route.method]));
  if (allowed.length === 0)
    return new ApiError(
      404,
      "not_found",
      `there is nothing at ${JSON.stringify(path.slice(0, 100))}; GET /openapi.json lists what there is`,
    );
  const allow = allowed.join(", ");
  return new ApiError(405, "method_not_allowed", `${path} has no ${method}; it has ${allow}`, {
    headers: { allow },
  });
}
