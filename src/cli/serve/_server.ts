// tts serve by HTTP and Wyoming: reads the options, opens the ports and the engine, and ends in good order.

import { addressOfSocket } from "../../../ffi/libc.ts";
import { version } from "../../../package.json";
import { inheritedSockets, loadConfig, loadServerToken } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import { assertNpuFolder } from "../../formats/npu-folder.ts";
import { authority, isLoopback } from "../../io/address.ts";
import { SERVE_LIMITS } from "../../limits.ts";
import { assertWhole } from "../../ranges.ts";
import { forward, privateSocket } from "../../serve/forward.ts";
import { type HttpOptions, serveHttp } from "../../serve/http/index.ts";
import { pageFile } from "../../serve/page/index.ts";
import { type RemoteOptions, RemoteSource } from "../../serve/remote/index.ts";
import { Service } from "../../serve/service.ts";
import { serveWyoming, type Where } from "../../serve/wyoming/index.ts";
import type { Tell } from "../../types.ts";
import { announcing } from "../shared/engine.ts";
import { clearProgress } from "../shared/log.ts";
import { readMachine } from "../shared/machine-options.ts";
import { filePath, number } from "../shared/options.ts";
import { firstSignal } from "../shared/signals.ts";
import { contextOf, HOST, PORT, type ServeValues, USUAL_NAME } from "./_options.ts";

const MOST_PLACES = 256;
const MOST_PORT = 65_535;

interface Settings {
  http: Pick<HttpOptions, "token" | "hosts" | "origins">;
  /** A file: an inherited socket. */
  httpAt: { host: string; port: number } | { fd: number };
  wyomingAt: Where | null;
  zeroconf?: { name?: string };
  places: number;
  voicesDir: string;
  engine: RemoteOptions;
}

/** What clients reach, and how it ends. */
interface Listening {
  where: string;
  stop(): Promise<void>;
}

/** @throws TtsError USAGE, OUTPUT_FAILED for a port that is taken, and what opening the model throws */
export async function serveProtocols(args: ServeValues, tell: Tell): Promise<void> {
  const settings = await readSettings(args);
  const { engine, places, voicesDir, wyomingAt, zeroconf } = settings;
  const source = new RemoteSource(engine, tell, announcing(args.model));
  source.opened.catch(() => {}); // it is awaited below, unless a port is taken
  const service = new Service(source, { voicesDir, places });
  const signalled = firstSignal();
  const opened = Promise.race([source.opened, signalled]);
  if ("fd" in settings.httpAt) await opened; // who connects waits in the socket; other ports say so
  const servers: Listening[] = [await listenHttp(service, settings, tell)];
  if (wyomingAt !== null) {
    const server = await serveWyoming(service, wyomingAt, { tell, zeroconf });
    const where = "fd" in wyomingAt ? nameOf(wyomingAt.fd, "tcp") : server.where;
    servers.push({ where, stop: server.stop });
  }
  const facts = await opened;
  clearProgress();
  if (facts !== null) {
    for (const { where } of servers) tell.info(`ready: ${where}, model ${facts.manifest.name}`);
    await signalled;
  }
  tell.info("ending: what sounds may finish");
  const stopped = servers.map((server) => server.stop());
  await service.end();
  await Promise.race([Promise.all(stopped), Bun.sleep(SERVE_LIMITS.flushMs)]);
}

async function listenHttp(service: Service, { http, httpAt }: Settings, tell: Tell): Promise<Listening> {
  const options = { ...http, tell, page: pageFile, version };
  if (!("fd" in httpAt)) {
    const { url: where, ...server } = serveHttp(service, { ...options, ...httpAt });
    return { where, stop: server.stop };
  }
  const socket = privateSocket();
  const server = serveHttp(service, { ...options, socket, isForwarded: !("path" in addressOf(httpAt.fd)) });
  const front = await forward(httpAt.fd, socket);
  const stop = () => {
    front.stop();
    return server.stop();
  };
  return { where: nameOf(httpAt.fd, "http"), stop };
}

/** @throws TtsError USAGE, INPUT_UNREADABLE for the file of the token */
async function readSettings(args: ServeValues): Promise<Settings> {
  const machine = readMachine(args);
  const flags = { ...machine, lanes: number(args, "lanes"), contextPositions: contextOf(args) };
  const config = loadConfig(flags);
  assertNpuFolder(config);
  const places = number(args, "places") ?? SERVE_LIMITS.places;
  assertWhole("--places", places, 1, MOST_PLACES);
  const inherited = inheritedSockets();
  const httpAt = readHttpPlace(args, inherited.get("http"));
  const http = await readHttp(args, httpAt);
  const wyomingAt = readWyoming(args, inherited.get("wyoming"));
  const { stageTimeoutMs, voicesDir } = config;
  // so many sentences that several lanes pay wherever they change no sound
  const engine = { ...flags, model: args.model, sentences: SERVE_LIMITS.places, stageTimeoutMs };
  return { http, httpAt, wyomingAt, zeroconf: readZeroconf(args, wyomingAt), places, voicesDir, engine };
}

function readHttpPlace(args: ServeValues, fd: number | undefined): Settings["httpAt"] {
  const port = readPort(args, "port");
  if (fd === undefined) return { host: args.host ?? HOST, port: port ?? PORT };
  if (port !== undefined || args.host !== undefined) throw placedTwice("HTTP", "--port and --host");
  return { fd };
}

const placedTwice = (protocol: string, options: string) =>
  new TtsError("USAGE", `${protocol} has a socket that was inherited (LISTEN_FDS)`, `leave out ${options}`);

async function readHttp(args: ServeValues, at: Settings["httpAt"]): Promise<Settings["http"]> {
  const token = await loadServerToken(filePath(args, "token-file"));
  const host = hostOf(at);
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
  return { token, hosts: listOf(args["allow-host"]), origins };
}

function readWyoming(args: ServeValues, fd: number | undefined): Where | null {
  const at = wyomingPlace(args, fd);
  if (at === null || "socket" in at) return at;
  const host = hostOf(at);
  if (!isLoopback(host) && args.auth !== false)
    throw new TtsError(
      "USAGE",
      `other machines reach ${host}, and Wyoming knows no token`,
      "add --no-auth if everybody there may speak; HTTP still asks for its token",
    );
  return at;
}

function wyomingPlace(args: ServeValues, fd: number | undefined): Where | null {
  const port = readPort(args, "wyoming-port");
  const socket = filePath(args, "wyoming-socket");
  const host = args["wyoming-host"];
  if (fd !== undefined && (port ?? socket ?? host) !== undefined)
    throw placedTwice("Wyoming", "--wyoming-port, --wyoming-host and --wyoming-socket");
  if (port !== undefined && socket !== undefined)
    throw new TtsError("USAGE", "both --wyoming-port and --wyoming-socket are given", "give one of them");
  if (port === undefined && host !== undefined)
    throw new TtsError("USAGE", "--wyoming-host is given without a port", "add --wyoming-port 10200");
  if (fd !== undefined) return { fd };
  if (socket !== undefined) return { socket };
  return port === undefined ? null : { host: host ?? HOST, port };
}

function readZeroconf({ zeroconf: name }: ServeValues, wyoming: Where | null): Settings["zeroconf"] {
  if (name === undefined) return undefined;
  if (wyoming === null)
    throw new TtsError("USAGE", "--zeroconf is given without Wyoming", "add --wyoming-port 10200");
  return name === USUAL_NAME ? {} : { name };
}

function readPort(args: ServeValues, name: "port" | "wyoming-port"): number | undefined {
  const port = number(args, name);
  if (port !== undefined) assertWhole(`--${name}`, port, 0, MOST_PORT);
  return port;
}

/** @throws TtsError USAGE */
function addressOf(fd: number): { host: string; port: number } | { path: string } {
  const address = addressOfSocket(fd);
  if (address === null)
    throw new TtsError("USAGE", `the inherited file ${fd} is no socket`, "set LISTEN_FDS as systemd does");
  return address;
}

/** "": programs of this machine alone. */
function hostOf(at: { host: string } | { fd: number }): string {
  if ("host" in at) return at.host;
  const address = addressOf(at.fd);
  return "host" in address ? address.host : "";
}

function nameOf(fd: number, scheme: string): string {
  const address = addressOf(fd);
  if ("path" in address) return `unix:${address.path}`;
  return `${scheme}://${authority(address.host, address.port)}`;
}

const listOf = (text = "") =>
  text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
