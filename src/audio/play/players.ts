// The programs that play sound: how each is told that raw samples come on its standard input, at which rate,
// and to which device they go. Everything that differs between players stands in this table.

import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { playerEnvironment } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { nearest } from "../../nearest.ts";
import { wordsOf } from "./command-line.ts";

type Environment = Readonly<Record<string, string | undefined>>;

interface Row {
  /** For 16-bit little-endian mono. Each starts to sound after 0.1 to 0.2 s of it at the latest. */
  args: (rateHz: number) => string;
  /** What names the device: more arguments, or variables where the program has no option for it. */
  device: (name: string) => { args?: readonly string[]; variables?: Environment };
  /** Names standard input, after all other arguments; "" where that is what it reads anyway. */
  input: string;
  /** An option that newer versions need and older ones refuse; --help tells which one this is. */
  newer?: string;
  /** What it says where it cannot play, and ends with status 0 all the same. */
  complaint?: string;
  /** The socket of its sound server, without which it cannot play; "" for one that may be anywhere. */
  server?: (environment: Environment) => string;
}

const LATENCY_MS = 100;

/** In the order of choice: sound servers have the devices open, so their own players come first. */
const PLAYERS: Readonly<Record<string, Row>> = {
  "pw-play": {
    args: (rateHz) => `--rate ${rateHz} --channels 1 --format s16 --latency ${LATENCY_MS}ms`,
    device: (name) => ({ args: ["--target", name] }),
    input: "-",
    newer: "--raw", // before PipeWire 1.4, "-" alone meant raw samples
    server: ({ PIPEWIRE_REMOTE, PIPEWIRE_RUNTIME_DIR, XDG_RUNTIME_DIR }) =>
      resolve(PIPEWIRE_RUNTIME_DIR || XDG_RUNTIME_DIR || "", PIPEWIRE_REMOTE || "pipewire-0"),
  },
  paplay: {
    // its own default would sound after two seconds
    args: (rateHz) => `--raw --format=s16le --channels=1 --rate=${rateHz} --latency-msec=${LATENCY_MS}`,
    device: (name) => ({ args: [`--device=${name}`] }),
    input: "",
    server: ({ PULSE_RUNTIME_PATH, PULSE_SERVER, XDG_RUNTIME_DIR }) =>
      PULSE_SERVER ? "" : join(PULSE_RUNTIME_PATH || join(XDG_RUNTIME_DIR || "", "pulse"), "native"),
  },
  aplay: {
    // its own default would sound once half a second is there
    args: (rateHz) => `-q -t raw -f S16_LE -c 1 -r ${rateHz} --start-delay=${1000 * LATENCY_MS}`,
    device: (name) => ({ args: ["-D", name] }),
    input: "-",
  },
  ffplay: {
    args: (rateHz) =>
      `-nodisp -autoexit -loglevel error -fflags nobuffer -probesize 32 -analyzeduration 0 -f s16le -sample_rate ${rateHz}`,
    device: (name) => ({ variables: { SDL_AUDIODRIVER: "alsa", AUDIODEV: name } }),
    input: "pipe:0",
    complaint: "audio open failed",
  },
  mpv: {
    args: (rateHz) =>
      "--no-config --no-video --no-input-terminal --msg-level=all=error --cache=no --demuxer=rawaudio " +
      `--demuxer-rawaudio-format=s16le --demuxer-rawaudio-channels=1 --demuxer-rawaudio-rate=${rateHz}`,
    device: (name) => ({ args: [`--audio-device=${name}`] }),
    input: "-",
  },
  play: {
    args: (rateHz) => `-q -V1 --buffer 2048 -t raw -e signed-integer -b 16 -c 1 -r ${rateHz}`,
    device: (name) => ({ variables: { AUDIODEV: name } }),
    input: "-", // of SoX
  },
};

export const PLAYER_NAMES = Object.keys(PLAYERS);

/** A program that will play samples which it reads from its standard input. */
export interface PlayerCommand {
  /** As the user would call it. */
  name: string;
  program: string;
  args: readonly string[];
  environment: Environment;
  /** Words that mean failure, whatever its status. */
  complaint?: string;
}

export interface PlayerChoice {
  /**
   * A name of the table, or a command line, in which {rate} and {device} are replaced. Default: the first
   * player of the table that is installed and whose sound server runs.
   */
  player?: string;
  /** As the player names it. Default: the player's own. */
  device?: string;
  rateHz: number;
}

/**
 * The players of the table that are installed, in its order.
 * @returns usable: its sound server runs, or it needs none
 */
export function installedPlayers(): { name: string; path: string; usable: boolean }[] {
  const environment = playerEnvironment({});
  return Object.entries(PLAYERS).flatMap(([name, { server }]) => {
    const [path, socket] = [Bun.which(name), server?.(environment) ?? ""];
    return path === null ? [] : [{ name, path, usable: socket === "" || existsSync(socket) }];
  });
}

/** @throws TtsError OUTPUT_FAILED where the player is missing, USAGE for a command that cannot be one */
export function playerCommand({ device, player, rateHz }: PlayerChoice): PlayerCommand {
  if (player === undefined) return ofTable(defaultPlayer(), rateHz, device);
  const [program, ...args] = wordsOf(player);
  if (program === undefined)
    throw new TtsError("USAGE", "the player is empty", "name a program or a command");
  if (args.length === 0 && Object.hasOwn(PLAYERS, basename(program)))
    return ofTable(found(program), rateHz, device);
  if (device !== undefined && !args.some((word) => word.includes("{device}")))
    throw new TtsError(
      "USAGE",
      `the command "${player}" has no {device} to put "${device}" in the place of`,
      "write it where the name belongs, or leave out {device}",
    );
  const filled = args.map((word) =>
    word.replaceAll("{rate}", `${rateHz}`).replaceAll("{device}", device ?? ""),
  );
  return {
    name: basename(program),
    program: found(program),
    args: filled,
    environment: playerEnvironment({}),
  };
}

/** Of util-linux, which every Debian has. */
const SETPRIV = "/usr/bin/setpriv";

/**
 * A command that the system kills when the thread that started it ends, even by a kill -9: else a player goes
 * on with the seconds of sound that lie in its pipe. Where setpriv is missing, it is the same command.
 */
export const endingWithUs = (program: string, args: readonly string[]): [string, string[]] =>
  existsSync(SETPRIV) ? [SETPRIV, ["--pdeathsig", "KILL", "--", program, ...args]] : [program, [...args]];

function defaultPlayer(): string {
  const installed = installedPlayers();
  const first = installed.find(({ usable }) => usable) ?? installed[0];
  if (first !== undefined) return first.path;
  throw new TtsError(
    "OUTPUT_FAILED",
    `there is no player: none of ${PLAYER_NAMES.join(", ")} is installed`,
    "install alsa-utils (aplay), or name a command with {player}",
  );
}

function found(program: string): string {
  const path = Bun.which(program);
  if (path !== null) return path;
  const guess = nearest(program, PLAYER_NAMES);
  const hint =
    guess === null || guess === program ? "install it, or choose another {player}" : `did you mean ${guess}?`;
  throw new TtsError("OUTPUT_FAILED", `there is no player ${program}`, hint);
}

function ofTable(program: string, rateHz: number, device: string | undefined): PlayerCommand {
  const name = basename(program);
  const { args, complaint, device: to, input, newer } = PLAYERS[name];
  const { args: more = [], variables = {} } = device === undefined ? {} : to(device);
  const environment = playerEnvironment(variables);
  const isNewer = newer !== undefined && Bun.spawnSync([program, "--help"]).stdout.includes(newer);
  return {
    name,
    program,
    args: [
      ...args(rateHz).split(" "),
      ...(isNewer ? [newer] : []),
      ...more,
      ...(input === "" ? [] : [input]),
    ],
    environment,
    complaint,
  };
}
