// The engine in a process of its own, so that nothing that befalls it takes the server down: not a stage that
// dies, a crash in a native library, or a call that hangs. The process is then replaced. Nothing here loads a
// native library or computes.

import type { TtsError } from "../../engine.ts";
import type { Progress, Tell } from "../../types.ts";
import { beatMsFor, Keeper, keepAlive } from "../keeper.ts";
import type { EngineSource } from "../service.ts";
import { RemoteEngine } from "./_engine.ts";
import type { EngineReady, EngineStart, FromEngine } from "./_wire.ts";

/** Arguments of the engine's process after the program's name. It also needs the server's channel. */
export const ENGINE_COMMAND = ["serve", "engine"] as const;

/** Runs the engine in this process, as the server says over the channel. */
export async function runEngine(): Promise<void> {
  await (await import("./_process.ts")).runEngineProcess(); // only now: it loads libraries
}

export type RemoteOptions = EngineStart["options"] & { stageTimeoutMs: number };

/** Opens the engine, and opens it anew whenever its process had to be replaced. */
export class RemoteSource implements EngineSource {
  engine: RemoteEngine | null = null;
  /**
   * When it is open for the first time.
   * @throws TtsError as the door's open does, STAGE_DIED, STAGE_TIMEOUT: nothing opens it then
   */
  readonly opened: Promise<EngineReady>;
  private readonly keeper: Keeper<EngineReady>;
  private readonly end: () => void;

  constructor(options: RemoteOptions, tell: Tell, onProgress: (progress: Progress) => void) {
    const { promise, reject: giveUp, resolve } = Promise.withResolvers<EngineReady>();
    const { stageTimeoutMs } = options;
    const beatMs = beatMsFor(stageTimeoutMs);
    this.opened = promise;
    this.keeper = new Keeper<EngineReady>({
      ...{ name: "engine", command: ENGINE_COMMAND, stageTimeoutMs, tell, giveUp },
      job: { options, beatMs } satisfies EngineStart,
      onReady: (facts, pid, isFirst) => {
        for (const warning of facts.warnings) tell.warn(warning);
        if (isFirst) tell.debug(`the engine is process ${pid}`);
        else tell.info(`the engine is back (process ${pid})`);
        this.engine = new RemoteEngine(
          facts,
          (message) => this.keeper.send(message),
          () => this.end(),
        );
        resolve(facts);
      },
      onMessage: (message) => {
        const known = message as FromEngine;
        if ("progress" in known) onProgress(known.progress);
        else this.engine?.hear(known);
      },
      onGone: (failure) => this.lose(failure),
    });
    this.end = keepAlive([this.keeper], beatMs);
  }

  private lose(failure: TtsError): void {
    const { engine } = this;
    this.engine = null;
    engine?.fail(failure);
  }

  async close(): Promise<void> {
    const { engine } = this;
    this.engine = null;
    if (engine === null) this.end();
    else await engine.close();
  }
}
