// tts serve by HTTP and Wyoming: reads the options, opens the ports and the engine, and ends in good order.

import { CONTEXT_POSITIONS, loadConfig, loadServerToken, PROMPT_POSITIONS } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { assertNpuFolder } from "../../formats/npu-folder.ts";
import { SERVE_LIMITS } from "../../limits.ts";
import { assertWhole } from "../../ranges.ts";
import { type HttpOptions, type StaticFile, serveHttp } from "../../serve/http/index.ts";
import type { Tell } from "../../serve/keeper.ts";
import { type RemoteOptions, RemoteSource } from "../../serve/remote/index.ts";
import { Service } from "../../serve/service.ts";
import { serveWyoming, type Where } from "../../serve/wyoming/index.ts";
import { announcing } from "../shared/engine.ts";
import { clearProgress } from "../shared/log.ts";
import { readMachine } from "../shared/machine-options.ts";
import { filePath, number } from "../shared/options.ts";
import { HOST, PORT, type ServeValues } from "./_options.ts";

type HttpSettings = Pick<HttpOptions, "token" | "hosts" | "origins"> & { host: string; port: number };

const MOST_PLACES = 256;
const MOST_PORT = 65_535;
/** Exit statuses where a second signal cuts the end short. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

interface Settings {
  http: HttpSettings;
  wyoming: Where | null;
  places: number;
  voicesDir: string;
  engine: RemoteOptions;
}

/** @throws TtsError USAGE, OUTPUT_FAILED for a port that is taken, and what opening the model throws */
export async function serveProtocols(args: ServeValues, tell: Tell): Promise<void> {
  const { engine, http, places, voicesDir, wyoming } = await readSettings(args);
  const source = new RemoteSource(engine, tell, announcing(args.model));
  source.opened.catch(() => {}); // it is awaited below, unless a port is taken
  const service = new Service(source, { voicesDir, places });
  const servers = [serveHttp(service, { ...http, tell })];
  const others = wyoming === null ? [] : [await serveWyoming(service, wyoming, { tell })];
  const signalled = firstSignal();
  const facts = await Promise.race([source.opened, signalled]);
  clearProgress();
  if (facts !== null) {
    const model = `model ${facts.manifest.name}`;
    for (const { url } of servers) tell.info(`ready: ${url}, ${model}`);
    for (const { where } of others) tell.info(`ready: ${where}, ${model}`);
    await signalled;
  }
  tell.info("ending: what sounds may finish");
  const stopped = [...servers, ...others].map((server) => server.stop());
  await service.end();
  await Promise.race([Promise.all(stopped), Bun.sleep(SERVE_LIMITS.flushMs)]);
}

/** Resolves with the first signal to end; the second one ends the process at once. */
function firstSignal(): Promise<null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  let hasCome = false;
  for (const [signal, status] of Object.entries(SIGNALS)) {
    process.removeAllListeners(signal);
    process.on(signal, () => {
      if (hasCome) process.exit(status);
      hasCome = true;
      resolve(null);
    });
  }
  return promise;
}

/** @throws TtsError USAGE, INPUT_UNREADABLE for the file of the token */
async function readSettings(args: ServeValues): Promise<Settings> {
  const machine = readMachine(args);
  const frames = number(args, "max-frames") ?? 1;
  const contextPositions = Math.max(CONTEXT_POSITIONS, frames + PROMPT_POSITIONS);
  const flags = { ...machine, lanes: number(args, "lanes"), contextPositions };
  const config = loadConfig(flags);
  assertNpuFolder(config);
  const places = number(args, "places") ?? SERVE_LIMITS.places;
  assertWhole("--places", places, 1, MOST_PLACES);
  const http = await readHttp(args);
  const wyoming = readWyoming(args);
  const { stageTimeoutMs, voicesDir } = config;
  // so many sentences that several lanes pay wherever they change no sound
  const engine = { ...flags, model: args.model, sentences: SERVE_LIMITS.places, stageTimeoutMs };
  return { http, wyoming, places, voicesDir, engine };
}

async function readHttp(args: ServeValues): Promise<HttpSettings> {
  const host = args.host ?? HOST;
  const token = await loadServerToken(filePath(args, "token-file"));
  if (!isLoopback(host) && token === null && args.auth !== false)
    throw new TtsError(
      "USAGE",
      `other machines reach ${host}, and no token is set`,
      "set TTS_TOKEN or --token-file FILE, or let everybody speak with --no-auth",
    );
  const origins = listOf(args.cors);
  for (const origin of origins)
    if (origin !== "*" && URL.parse(origin)?.origin !== origin)
      throw new TtsError("USAGE", `--cors names "${origin}"`, "write origins such as https://home.example");
  return { host, port: readPort(args, "port") ?? PORT, token, hosts: listOf(args["allow-host"]), origins };
}

function readWyoming(args: ServeValues): Where | null {
  const port = readPort(args, "wyoming-port");
  const socket = filePath(args, "wyoming-socket");
  const host = args["wyoming-host"];
  if (port !== undefined && socket !== undefined)
    throw new TtsError("USAGE", "both --wyoming-port and --wyoming-socket are given", "give one of them");
  if (port === undefined && host !== undefined)
    throw new TtsError("USAGE", "--wyoming-host is given without a port", "add --wyoming-port 10200");
  if (socket !== undefined) return { socket };
  if (port === undefined) return null;
  if (!isLoopback(host ?? HOST) && args.auth !== false)
    throw new TtsError(
      "USAGE",
      `other machines reach ${host}, and Wyoming knows no token`,
      "add --no-auth if everybody there may speak; HTTP still asks for its token",
    );
  return { host: host ?? HOST, port };
}

function readPort(args: ServeValues, name: "port" | "wyoming-port"): number | undefined {
  const port = number(args, name);
  if (port !== undefined) assertWhole(`--${name}`, port, 0, MOST_PORT);
  return port;
}

/** Names alone are not looked up: only this one is always this machine. */
const isLoopback = (host: string) =>
  /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\]|::ffff:127(\.\d{1,3}){3})$/i.test(host);

const listOf = (text = "") =>
  text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
