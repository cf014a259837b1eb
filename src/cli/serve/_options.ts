// The options of tts serve: for both ways to serve, for the protocols, and for the stages on sockets.

import { CONTEXT_POSITIONS, PROMPT_POSITIONS } from "../../config.ts";
import { LIMITS, SERVE_LIMITS } from "../../limits.ts";
import { assertWhole } from "../../ranges.ts";
import { STAGES } from "../../types.ts";
import { MACHINE_OPTIONS } from "../shared/machine-options.ts";
import { COMMON, number, type Options, type Values } from "../shared/options.ts";

export const HOST = "127.0.0.1";
export const PORT = 8080;
/** What --zeroconf alone stands for. */
export const USUAL_NAME = "";
/** With two, a client that pauses does not stop another. A lane of a 0.6B model takes 117 MB. */
export const LANES = 2;
export const SOCKET_MODE = "0600";
export const PATIENCE_SECONDS = 10;

const PROTOCOL_OPTIONS = {
  port: {
    type: "string",
    valueHint: "N",
    description: `Port of HTTP; 0 takes any that is free. Default: ${PORT}.`,
    group: "Server",
  },
  host: {
    type: "string",
    valueHint: "HOST",
    description: `Address that HTTP listens on. One that other machines reach needs a token or --no-auth. Default: ${HOST}, this machine alone.`,
    group: "Server",
  },
  "wyoming-port": {
    type: "string",
    valueHint: "N",
    description: "Also speak Wyoming on this port; its usual one is 10200. Default: no Wyoming.",
    group: "Server",
  },
  "wyoming-host": {
    type: "string",
    valueHint: "HOST",
    description: `Address that Wyoming listens on. Wyoming knows no token, so one that other machines reach needs --no-auth. Default: ${HOST}.`,
    group: "Server",
  },
  "wyoming-socket": {
    type: "string",
    valueHint: "PATH",
    description: "Also speak Wyoming on this Unix socket.",
    group: "Server",
  },
  zeroconf: {
    type: "string",
    valueHint: "NAME",
    description:
      "Tell the local network of the Wyoming server, so that Home Assistant finds it. Without NAME it is called after this machine; Home Assistant takes another name for another server.",
    group: "Server",
    implied: { value: USUAL_NAME, unlessNext: /^[^-]/ },
  },
  "token-file": {
    type: "string",
    valueHint: "FILE",
    description: "HTTP requests must bring the token in this file. Default: TTS_TOKEN, else no token.",
    group: "Server",
  },
  "no-auth": {
    type: "boolean",
    description: "Serve other machines without a token: whoever reaches the port may speak.",
    group: "Server",
  },
  "allow-host": {
    type: "string",
    valueHint: "NAME,...",
    description: "Further names by which HTTP clients may call this server, such as tts.home.example.",
    group: "Server",
  },
  cors: {
    type: "string",
    valueHint: "ORIGIN,...",
    description: "Web pages of these origins, such as https://home.example, may use HTTP. Default: none.",
    group: "Server",
  },
  places: {
    type: "string",
    valueHint: "N",
    description: `The most speeches at once, those that wait included. Default: ${SERVE_LIMITS.places}.`,
    group: "Server",
  },
} as const satisfies Options;

const STAGE_OPTIONS = {
  sockets: {
    type: "string",
    valueHint: "DIR",
    description:
      "Serve the stages, and neither HTTP nor Wyoming: open their sockets in this folder, which is made if it does not exist.",
    group: "Stages on sockets",
  },
  stage: {
    type: "string",
    valueHint: STAGES.join("|"),
    description: "Serve this stage alone. Default: all three.",
    group: "Stages on sockets",
  },
  "socket-mode": {
    type: "string",
    valueHint: "MODE",
    description: `Permissions of the sockets, such as 0660. Default: ${SOCKET_MODE}, you alone.`,
    group: "Stages on sockets",
  },
  patience: {
    type: "string",
    valueHint: "SECONDS",
    description: `A client that keeps a stage waiting longer than this loses its place if others wait for it. Default: ${PATIENCE_SECONDS}.`,
    group: "Stages on sockets",
  },
  greedy: {
    type: "boolean",
    description: "Always take the likeliest code, in talker and code predictor, whatever a client asks for.",
    group: "Stages on sockets",
  },
  seed: {
    type: "string",
    valueHint: "N",
    description:
      "Seed of every sentence that names none, and of every connection to the code predictor. A sentence with a connection of its own gets the codes of tts --seed N. Default: a new seed each time.",
    group: "Stages on sockets",
  },
} as const satisfies Options;

export const SERVE_OPTIONS = {
  ...PROTOCOL_OPTIONS,
  model: {
    type: "string",
    alias: "m",
    valueHint: "DIR|NAME",
    description: "An official checkpoint directory, a bundle, or a known name. Default: starter.",
    group: "Voice",
  },
  lanes: {
    type: "string",
    valueHint: "N",
    description: `Sentences that are spoken at once; further ones wait. Default: 4 where that changes no sound, else 1; ${LANES} on sockets.`,
    group: "Voice",
  },
  "max-frames": {
    type: "string",
    valueHint: "N",
    description: "Reserve memory for sentences of up to N frames of 80 ms.",
    group: "Voice",
  },
  ...STAGE_OPTIONS,
  ...MACHINE_OPTIONS,
  ...COMMON,
} as const satisfies Options;

export type ServeValues = Values<typeof SERVE_OPTIONS>;

/** Options that mean nothing in one of the two ways to serve. */
export const namesOf = (isOnSockets: boolean): readonly string[] =>
  Object.keys(isOnSockets ? STAGE_OPTIONS : PROTOCOL_OPTIONS);

/** Positions for a prompt and --max-frames. @throws TtsError USAGE */
export function contextOf(args: ServeValues): number {
  const frames = number(args, "max-frames") ?? 1;
  assertWhole("--max-frames", frames, 1, LIMITS.contextPositions - PROMPT_POSITIONS);
  return Math.max(CONTEXT_POSITIONS, frames + PROMPT_POSITIONS);
}
