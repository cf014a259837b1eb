// The process of one stage: opens it, listens on its socket, serves its clients, and shows its supervisor
// that it is alive. Computes on its only thread, so a native call that hangs stops the signs of life, and the
// supervisor replaces the process.

import { chmodSync, rmSync, statSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { readLexicons } from "../../engine/lexicon.ts";
import { withSampling } from "../../engine/request.ts";
import { asTtsError, meaningOf, TtsError } from "../../errors.ts";
import { type Bundle, openBundle } from "../../formats/bundle.ts";
import { renameIntoPlace } from "../../io/atomic.ts";
import { endWithParent, settleThread } from "../../pipeline/placement.ts";
import type { Lexicon } from "../../text/lexicon.ts";
import type { StageName } from "../../types.ts";
import { beKept, type KeptHost } from "../keeper.ts";
import { slowestOf } from "./_lanes.ts";
import { isGone, Peer } from "./_peer.ts";
import { PredictorService } from "./_predictor.ts";
import { TalkerService } from "./_talker.ts";
import { VocoderService } from "./_vocoder.ts";
import type { FromStageProcess, Signs, StageService, StageStart } from "./_wire.ts";

/**
 * Most connections at once. A further one takes the place of the slowest client, if that is over its
 * patience.
 */
const MOST_PEERS = 64;
/** Exit status of everything wrong with options, text or codes: the client's fault. */
const CLIENTS_FAULT = 2;
const LINE_CHARACTERS = 300;
const USER_ONLY = 0o177;
const SERVICES: Record<
  StageName,
  new (
    bundle: Bundle,
    start: StageStart,
    signs: Signs,
    lexicon: Lexicon,
  ) => StageService
> = {
  talker: TalkerService,
  predictor: PredictorService,
  vocoder: VocoderService,
};

/** Runs the stage that the supervisor names, until the supervisor is gone. */
export async function runStageProcess(): Promise<void> {
  // SIGTERM ends the process at once again, even while a native call hangs: the next one takes over its
  // socket
  process.removeAllListeners("SIGTERM");
  await beKept<StageStart>((start, send, fail) => new StageHost(start, send, fail));
}

class StageHost implements KeptHost {
  private readonly peers = new Set<Peer>();
  private service: StageService | null = null;
  private readonly server: Server;
  private connections = 0;
  /** Inode of its socket: the name may belong to another process later. */
  private inode = -1;
  private timer: Timer | undefined;

  constructor(
    private readonly start: StageStart,
    private readonly send: (message: FromStageProcess) => void,
    private readonly fail: (error: unknown) => void,
  ) {
    this.server = createServer({ allowHalfOpen: true }, (socket) => this.accept(socket));
  }

  /** @throws TtsError as opening the stage does, OUTPUT_FAILED for its socket */
  async open(): Promise<void> {
    const { beatMs, bundle, config, greedy, stage } = this.start;
    endWithParent(); // even while a native call hangs and the closed channel goes unnoticed
    const refused = settleThread(stage, config);
    const signs: Signs = {
      opening: (opening) => this.send({ opening }),
      alive: () => this.send({ beat: true }),
    };
    const { lexicon } = await readLexicons(config.configDir);
    const service = new SERVICES[stage](
      withSampling(openBundle(bundle), greedy ? { greedy } : {}),
      this.start,
      signs,
      lexicon,
    );
    this.service = service;
    await this.listen();
    this.server.on("error", this.fail);
    this.timer = setInterval(() => {
      signs.alive();
      service.look?.();
    }, beatMs);
    const { name: backend, unused } = service.opened;
    this.send({
      ready: {
        backend,
        warnings: [...refused, ...unused.map((reason) => `no NPU for the ${stage}: ${reason}`)],
      },
    });
  }

  /**
   * The socket gets its name once it has its permissions and is listened to; the same step replaces a dead
   * server's socket.
   */
  private async listen(): Promise<void> {
    const { mode, path, stage } = this.start;
    const hidden = join(dirname(path), `.${stage[0]}${process.pid}`); // no longer than the name: a socket's path is short
    const umask = process.umask(USER_ONLY);
    try {
      rmSync(hidden, { force: true });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.server.once("error", reject);
      this.server.listen(hidden, resolve);
      await promise;
      this.server.off("error", reject);
      chmodSync(hidden, mode);
      renameIntoPlace(hidden, path);
      this.inode = statSync(path).ino;
    } catch (cause) {
      rmSync(hidden, { force: true });
      throw new TtsError(
        "OUTPUT_FAILED",
        `cannot listen on ${path}: ${meaningOf(cause, "write").what}`,
        "choose another folder",
        { cause },
      );
    } finally {
      process.umask(umask);
    }
  }

  private accept(socket: Socket): void {
    if (this.peers.size >= MOST_PEERS && !this.makeRoom()) {
      this.tell("warn", `a client was sent away: there are ${MOST_PEERS} already`);
      socket.destroy();
      return;
    }
    const peer = new Peer(socket, ++this.connections);
    this.peers.add(peer);
    void this.serve(peer);
  }

  /** @returns whether a client was cut */
  private makeRoom(): boolean {
    const slowest = slowestOf(this.peers);
    if (slowest === undefined || slowest.waitedMs < this.start.patienceMs) return false;
    this.peers.delete(slowest);
    slowest.cut(
      new TtsError(
        "REQUEST_INVALID",
        `it had kept the server waiting longest when there were ${MOST_PEERS} others`,
      ),
    );
    return true;
  }

  private async serve(peer: Peer): Promise<void> {
    const tell = (level: "warn" | "debug", line: string) =>
      this.tell(level, `client ${peer.number}: ${line}`);
    try {
      await this.service!.serve(peer, (line) => tell("warn", line));
    } catch (thrown) {
      const error = asTtsError(thrown);
      if (isGone(error)) tell("debug", error.inOneLineWith(error.markedHint));
      else if (error.exitStatus === CLIENTS_FAULT) tell("warn", error.inOneLineWith(error.markedHint));
      else this.fail(error); // what a model or a library did once may come again: a fresh process is better
    } finally {
      this.peers.delete(peer); // a client that is sent its last words takes no place
    }
  }

  /** Clients choose part of the text: it becomes one short line without control characters. */
  private tell(level: "warn" | "debug", text: string): void {
    const line = text.replace(/\s*\n\s*/g, " ").replace(/\p{C}/gu, "?");
    this.send({
      told: { level, line: line.length > LINE_CHARACTERS ? `${line.slice(0, LINE_CHARACTERS)}…` : line },
    });
  }

  close(): void {
    clearInterval(this.timer);
    this.server.close();
    const { path } = this.start;
    if (statSync(path, { throwIfNoEntry: false })?.ino === this.inode) rmSync(path, { force: true });
  }
}
