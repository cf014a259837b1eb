// What the stages' servers share: the messages between supervisor and stage processes, and what all three
// sides of the wire need.

import { randomBytes } from "node:crypto";
import type { OnOpening } from "../../backends/stage.ts";
import type { Config } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import type { StageName } from "../../types.ts";
import type { FromKept } from "../keeper.ts";
import type { Peer } from "./_peer.ts";

/** The first message to a stage's process: all that it needs to know. */
export interface StageStart {
  stage: StageName;
  /** Path of its socket. */
  path: string;
  /** Permissions of the socket. */
  mode: number;
  /** Folder of the bundle. */
  bundle: string;
  config: Config;
  greedy: boolean;
  /** Seed of every sentence and of every connection to the code predictor. Default: a new one each time. */
  seed?: number;
  /** How long a client may take while others wait for its place. */
  patienceMs: number;
  /** How often to give a sign of life. */
  beatMs: number;
}

/** What a stage says when it listens. */
export interface StageReady {
  backend: string;
  warnings: readonly string[];
}

export type FromStageProcess = FromKept<StageReady>;

/** Signs of life for the supervisor: opening a stage and computing with it block the thread. */
export interface Signs {
  readonly opening: OnOpening;
  /** Called between the pieces of long work. */
  readonly alive: () => void;
}

/** A stage and its side of the wire. */
export interface StageService {
  /** The backend, and why prepared accelerators are not used. */
  readonly opened: { readonly name: string; readonly unused: readonly string[] };
  /** Serves a connection to its end, and ends it. @throws why it ended early */
  serve(peer: Peer, tell: (line: string) => void): Promise<void>;
  /** Called now and then. */
  look?(): void;
}

/** A model's values are far smaller; beyond this, half floats overflow. */
const LARGEST_VALUE = 65_504;

/** Lets other events have their turn. */
export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

export const randomSeed = () => randomBytes(4).readUInt32LE();

/** A single i32 as bytes. */
export const wordOf = (value: number) => new Uint8Array(Int32Array.of(value).buffer);

/** One NaN in the KV cache would spoil everything that is computed with it later. */
export function assertFinite(values: Float32Array, what: string): void {
  for (let i = 0; i < values.length; i++) {
    if (Math.abs(values[i]) <= LARGEST_VALUE) continue;
    throw new TtsError(
      "REQUEST_INVALID",
      `${what} is ${values[i]} at ${i}`,
      `numbers up to ${LARGEST_VALUE} are expected`,
    );
  }
}
