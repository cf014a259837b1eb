// A model hub with the interface of huggingface.co: revisions, lists of files, and requests that follow
// redirects and are tried again. Knows no files on disk, and gives the token to no other host.
//
// @huggingface/hub lists commits and files; only `tts pull` loads it, in 25 ms. It does not download here:
//   version 2.17.5 neither resumes, retries, times out nor checks sums, and announces files on stdout. Its
//   calls get our fetch, so they share redirects, retries and errors.

import { setTimeout as sleep } from "node:timers/promises";
import type { HubConfig, HubLimits } from "../config.ts";
import { TtsError } from "../errors.ts";
import { nearest } from "../nearest.ts";
import { type HubFile, KNOWN_MODELS } from "./catalog.ts";

/** A failure that another attempt may not meet. */
export class Interrupted extends Error {
  constructor(
    message: string,
    /** The shortest wait that the server asks for. */
    readonly waitMs = 0,
  ) {
    super(message);
  }
}

/** Cuts a connection when nothing has come for `stallMs`, or when `outer` aborts. */
export class Watchdog {
  private readonly controller = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly stallMs: number,
    private readonly outer?: AbortSignal,
  ) {
    this.timer = setTimeout(() => this.controller.abort(), stallMs);
  }

  get signal(): AbortSignal {
    return this.outer === undefined
      ? this.controller.signal
      : AbortSignal.any([this.controller.signal, this.outer]);
  }

  /** Starts the wait again: something came. */
  touch(): void {
    this.timer.refresh();
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  /** What a failed connection means: only failures of the network are worth another attempt. */
  explain(error: unknown): unknown {
    if (error instanceof TtsError || error instanceof Interrupted || this.outer?.aborted) return error;
    if (this.controller.signal.aborted) return new Interrupted(`nothing came for ${this.stallMs / 1000} s`);
    return new Interrupted((error as Error).message.split(". ")[0]); // the rest is advice for programmers
  }
}

/** One model on a hub. */
export class Hub {
  private readonly origin: string;

  constructor(
    readonly config: HubConfig,
    readonly id: string,
    readonly limits: HubLimits,
    /** Called before each further attempt. */
    private readonly onRetry: (what: string) => void,
  ) {
    this.origin = new URL(config.endpoint).origin;
  }

  /**
   * The full commit of a branch, a tag, or a commit given by its leading digits.
   * @throws TtsError MODEL_UNKNOWN, HUB_REFUSED, HUB_UNREACHABLE
   */
  async commit(revision: string): Promise<string> {
    if (/^[0-9a-f]{40}$/.test(revision)) return revision;
    const { listCommits } = await import("@huggingface/hub");
    const isPrefix = /^[0-9a-f]{7,39}$/.test(revision);
    let seen = 0;
    for await (const { oid } of listCommits({ ...this.calls(), revision: isPrefix ? "main" : revision })) {
      if (!isPrefix || oid.startsWith(revision)) return oid;
      if (++seen >= this.limits.entries) break;
    }
    throw new TtsError(
      "MODEL_UNKNOWN",
      `${this.id} has no revision "${revision}" at ${this.config.endpoint}`,
      "see its list of commits",
    );
  }

  /** @throws TtsError MODEL_UNKNOWN, HUB_REFUSED, HUB_UNREACHABLE */
  async files(commit: string): Promise<HubFile[]> {
    const { listFiles } = await import("@huggingface/hub");
    const files: HubFile[] = [];
    let seen = 0;
    for await (const { type, path, size, oid, lfs } of listFiles({
      ...this.calls(),
      recursive: true,
      revision: commit,
    })) {
      if (++seen > this.limits.entries)
        throw new TtsError(
          "HUB_REFUSED",
          `${this.id} has more than ${this.limits.entries} files`,
          "it is no model of this kind",
        );
      if (type === "file")
        files.push({
          path,
          bytes: size,
          sha256: lfs?.oid ?? null,
          gitOid: lfs === undefined ? (oid ?? null) : null,
        });
    }
    return files;
  }

  /** Where a file of a commit is. */
  fileUrl(commit: string, path: string): string {
    return `${this.config.endpoint}/${this.id}/resolve/${commit}/${path}`;
  }

  /**
   * One attempt at a GET. The answer is 200, or 206 or 416 where a range was asked for; its body is still to
   * come.
   * @throws Interrupted, TtsError MODEL_UNKNOWN, HUB_REFUSED
   */
  async get(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    let target = new URL(url);
    let trusted = target.origin === this.origin; // never again after a redirect elsewhere
    for (let hop = 0; hop <= this.limits.redirects; hop++) {
      const sent: Record<string, string> = {
        ...headers,
        "accept-encoding": "identity",
        "user-agent": "qwen3-tts-edge",
      };
      if (trusted && this.config.token !== "") sent.authorization = `Bearer ${this.config.token}`;
      const response = await fetch(target, { headers: sent, redirect: "manual", signal });
      const location =
        response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
      if (location === null) return this.accept(response, target, "range" in headers);
      await response.body?.cancel();
      const next = new URL(location, target);
      if (target.protocol === "https:" && next.protocol !== "https:") {
        throw new TtsError(
          "HUB_REFUSED",
          `${target.host} redirects to ${next.host} without encryption`,
          "set HF_ENDPOINT to another hub",
        );
      }
      target = next;
      trusted &&= target.origin === this.origin;
    }
    throw new TtsError(
      "HUB_REFUSED",
      `${this.config.endpoint} redirects more than ${this.limits.redirects} times`,
      "check HF_ENDPOINT",
    );
  }

  /**
   * Repeats `work` until it succeeds: tries again after a failure of the network, 429 or 5xx, and a wait.
   * @param progress a figure in bytes that grows while attempts get further
   * @throws TtsError HUB_UNREACHABLE after limits.attempts failures without progress
   */
  async withRetries<T>(
    work: () => Promise<T>,
    progress: () => number = () => 0,
    signal?: AbortSignal,
  ): Promise<T> {
    const { attempts, backoffMs, progressBytes, waitMs } = this.limits;
    let before = progress();
    for (let failures = 1; ; failures++) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Interrupted)) throw error;
        if (progress() - before >= progressBytes) [failures, before] = [1, progress()];
        const host = new URL(this.config.endpoint).host;
        if (failures >= attempts || error.waitMs > waitMs) {
          const asked =
            error.waitMs > waitMs
              ? ` and asks to wait ${Math.ceil(error.waitMs / 1000)} s`
              : ` (${failures} attempts)`;
          throw new TtsError(
            "HUB_UNREACHABLE",
            `${host}: ${error.message}${asked}`,
            "pull again later; it goes on where it stopped",
            {
              cause: error,
            },
          );
        }
        const pauseMs = Math.min(waitMs, Math.max(error.waitMs, backoffMs * 2 ** (failures - 1)));
        this.onRetry(`${host}: ${error.message}; trying again in ${(pauseMs / 1000).toFixed(1)} s`);
        await sleep(pauseMs, undefined, { signal });
      }
    }
  }

  /**
   * Arguments of every call of @huggingface/hub. Their `fetch` reads whole answers, so that a cut within one
   * is tried again, too.
   */
  private calls() {
    const get = async (url: string | URL | Request): Promise<Response> => {
      const body = await this.withRetries(async () => {
        const watchdog = new Watchdog(this.limits.stallMs);
        try {
          const response = await this.get(String(url), { accept: "application/json" }, watchdog.signal);
          return { text: await response.text(), link: response.headers.get("link") };
        } catch (error) {
          throw watchdog.explain(error);
        } finally {
          watchdog.stop();
        }
      });
      checkJson(body.text, this.config.endpoint);
      return new Response(body.text, body.link === null ? {} : { headers: { link: body.link } });
    };
    return {
      repo: { type: "model" as const, name: this.id },
      hubUrl: this.config.endpoint,
      fetch: get as typeof fetch,
    };
  }

  private async accept(response: Response, { host }: URL, ranged: boolean): Promise<Response> {
    const { status, headers } = response;
    if (status === 200 || (ranged && (status === 206 || status === 416))) return response;
    await response.body?.cancel();
    if (status === 429 || status >= 500)
      throw new Interrupted(`${host} answers ${status}`, retryAfterMs(headers.get("retry-after")));
    const code = headers.get("x-error-code");
    if (status === 404 && (code === "RevisionNotFound" || code === "EntryNotFound")) {
      throw new TtsError(
        "MODEL_UNKNOWN",
        `${this.id} has no such ${code.startsWith("Rev") ? "revision" : "file"} at ${host}`,
        "check it",
      );
    }
    if (status === 404)
      throw new TtsError("MODEL_UNKNOWN", `${host} has no model "${this.id}"`, namesHint(this.id));
    if (status === 401 || status === 403) {
      const has = this.config.token !== "";
      const hint = has
        ? "the token may not read it: accept the model's terms on its page, or set another HF_TOKEN"
        : `check the name, or set HF_TOKEN if it is private; ${namesHint(this.id)}`;
      throw new TtsError("HUB_REFUSED", `${host} refuses ${this.id} (${status})`, hint);
    }
    throw new TtsError("HUB_REFUSED", `${host} answers ${status} for ${this.id}`, "check HF_ENDPOINT");
  }
}

/** The known names, or the one that was probably meant. */
export function namesHint(model: string): string {
  const names = Object.keys(KNOWN_MODELS);
  const guess = nearest(model, [...names, ...names.map((name) => KNOWN_MODELS[name].hub)]);
  return guess === null || guess === model ? `known models: ${names.join(", ")}` : `did you mean ${guess}?`;
}

/** @throws TtsError HUB_REFUSED for the page of a portal, or of a server that is no hub */
function checkJson(text: string, endpoint: string): void {
  try {
    if (Array.isArray(JSON.parse(text))) return;
  } catch {
    // the error below says it
  }
  throw new TtsError(
    "HUB_REFUSED",
    `${endpoint} does not answer like a hub`,
    "check HF_ENDPOINT and the network",
  );
}

/** Retry-After in seconds or as a date; 0 where there is none. */
function retryAfterMs(header: string | null): number {
  if (header === null) return 0;
  const ms = /^\d+$/.test(header.trim()) ? 1000 * Number(header) : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
