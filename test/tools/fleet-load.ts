// make fleet-load: a fleet of many boards against one real hub, and what it takes. Fails where an
// announcement is lost or said twice. Figures are printed and not judged: they depend on the machine and on
// what else it does.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { PhraseCache } from "../../src/announce/phrases.ts";
import { Sender } from "../../src/fleet/announcing.ts";
import { HubClock } from "../../src/fleet/clock.ts";
import { listBoards } from "../../src/fleet/directory.ts";
import type { Hub } from "../../src/fleet/hub.ts";
import { type FleetOutcome, readAnswer, readOutcome, readSay } from "../../src/fleet/messages.ts";
import { answerSubject, outcomeSubject, saySubject } from "../../src/fleet/names.ts";
import { SharedPhrases } from "../../src/fleet/phrases.ts";
import { shell } from "../cli/_tts.ts";
import { crowdOf } from "../fleet/_crowd.ts";
import { House, makerOf, newFolder, Told, until } from "../fleet/_house.ts";
import { BoardProcess } from "../fleet/_process.ts";
import { freePort, TestServer } from "../fleet/_servers.ts";
import { roomOf, type Simulated, simulate, TEXT } from "./fleet/boards.ts";
import { loadAverage } from "./load/server.ts";

const PARTS = ["boards", "crowd", "pair"] as const;
type Part = (typeof PARTS)[number];

export interface Options {
  boards: number;
  rooms: number;
  /** Announcements of each kind. */
  rounds: number;
  parts: readonly Part[];
}

/** The boards are shared out among so many processes. */
const PROCESSES = 4;
const IDLE_MS = 15_000;
const CLOCK_TICKS = 100;
const SHOWN = 10;

/** @throws Error in one line */
export function readOptions(args: string[]): Options {
  const options = {
    boards: { type: "string" },
    rooms: { type: "string" },
    rounds: { type: "string" },
    parts: { type: "string" },
  } as const;
  const { values } = parseArgs({ args, options });
  const whole = (name: "boards" | "rooms" | "rounds", usual: number) => {
    const value = Number(values[name] || usual);
    if (!Number.isSafeInteger(value) || value < 1)
      throw new Error(`${name.toUpperCase()} is ${values[name]}: give a whole number from 1 on`);
    return value;
  };
  const parts = (values.parts || PARTS.join(" ")).split(/[\s,]+/);
  const unknown = parts.find((part) => !PARTS.includes(part as Part));
  if (unknown !== undefined)
    throw new Error(`there is no part "${unknown}": PARTS takes ${PARTS.join(", ")}`);
  const [boards, rooms] = [whole("boards", 1_000), whole("rooms", 100)];
  if (rooms > boards) throw new Error(`ROOMS is ${rooms}: there are only ${boards} boards`);
  return { boards, rooms, rounds: whole("rounds", 10), parts: parts as Part[] };
}

const print = (name: string, figures: string) =>
  console.log(`${name.padEnd(30)} ${figures}  [load ${loadAverage()}]`);
const ms = (value: number) => `${value.toFixed(value < 100 ? 1 : 0)} ms`;

/** @returns the median and the largest, in words */
export function inWords(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  return `median ${ms(sorted[Math.floor(sorted.length / 2)])}, at most ${ms(sorted.at(-1)!)}`;
}

/** What the system and the hub itself say of the hub. */
class Watched {
  constructor(
    readonly server: TestServer,
    private readonly monitor: number,
  ) {}

  static async start(): Promise<Watched> {
    const monitor = await freePort();
    return new Watched(await TestServer.nats(`http: "127.0.0.1:${monitor}"`), monitor);
  }

  async look() {
    const varz = await fetch(`http://127.0.0.1:${this.monitor}/varz`);
    const { in_msgs, out_msgs } = (await varz.json()) as { in_msgs: number; out_msgs: number };
    const status = readFileSync(`/proc/${this.server.pid}/status`, "utf8");
    const times = readFileSync(`/proc/${this.server.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return {
      in: in_msgs,
      out: out_msgs,
      rssMb: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1_024),
      cpuSeconds: (Number(times[11]) + Number(times[12])) / CLOCK_TICKS,
      atMs: performance.now(),
    };
  }

  /** What it did since then. */
  async since(before: Awaited<ReturnType<Watched["look"]>>): Promise<string> {
    const now = await this.look();
    const seconds = (now.atMs - before.atMs) / 1_000;
    const rate = (from: number, to: number) => `${((to - from) / seconds).toFixed(0)} messages/s`;
    const share = ((100 * (now.cpuSeconds - before.cpuSeconds)) / seconds).toFixed(0);
    return `${rate(before.in, now.in)} in, ${rate(before.out, now.out)} out, CPU ${share} % of a core, RSS ${now.rssMb} MB`;
  }
}

interface Heard {
  /** Until it was on its way: who is there, and where the sound is. */
  sentMs: number;
  /** From there on, until all boards had taken it. */
  takenMs: number;
  /** Between the first board that began and the last one. */
  apartMs: number;
  faults: string[];
}

/** Announces, and gathers what boards say of it. */
class Listener {
  /** When each announcement was at the hub. */
  private readonly saidMs = new Map<string, number>();
  private readonly answersMs = new Map<string, number[]>();
  private readonly outcomes = new Map<string, FleetOutcome[]>();

  private constructor(
    private readonly sender: Sender,
    private readonly clock: HubClock,
  ) {}

  static async open(hub: Hub): Promise<Listener> {
    const clock = new HubClock();
    await clock.look(hub, "load");
    const cache = new PhraseCache(newFolder());
    const phrases = new SharedPhrases(hub, cache, cache);
    const sender = new Sender(hub, clock, { name: "load", phrases, make: makerOf(cache), tell: new Told() });
    const listener = new Listener(sender, clock);
    hub.connection.subscribe(saySubject("*", "*"), {
      callback: (_, { data }) => void listener.saidMs.set(readSay(data).id, clock.nowMs()),
    });
    hub.connection.subscribe(answerSubject("*"), {
      callback: (_, { data, subject }) => {
        readAnswer(data);
        listener.note(listener.answersMs, subject.split(".").at(-1)!, clock.nowMs());
      },
    });
    hub.connection.subscribe(outcomeSubject("*"), {
      callback: (_, { data }) => {
        const outcome = readOutcome(data);
        listener.note(listener.outcomes, outcome.id, outcome);
      },
    });
    return listener;
  }

  private note<T>(map: Map<string, T[]>, id: string, value: T): void {
    const all = map.get(id) ?? [];
    all.push(value);
    map.set(id, all);
  }

  async announce(room: string, boards: number): Promise<Heard> {
    const startMs = this.clock.nowMs();
    const { boards: answered, id } = await this.sender.announce({ rooms: [room], text: TEXT });
    const saidMs = this.saidMs.get(id)!;
    const takenMs = Math.max(...this.answersMs.get(id)!) - saidMs;
    await until(() => (this.outcomes.get(id)?.length ?? 0) >= boards, `${boards} outcomes of ${room}`);
    const outcomes = this.outcomes.get(id)!;
    const at = outcomes.map((outcome) => outcome.at);
    const wrong = [
      ...answered
        .filter(({ state }) => state !== "accepted")
        .map(({ board, reason }) => `${board}: ${reason}`),
      ...outcomes
        .filter(({ what }) => what !== "said")
        .map(({ board, reason, what }) => `${board}: ${what} ${reason}`),
      ...(answered.length === boards ? [] : [`${answered.length} of ${boards} boards answered in ${room}`]),
      ...(outcomes.length === boards ? [] : [`${outcomes.length} outcomes of ${boards} in ${room}`]),
    ];
    return { sentMs: saidMs - startMs, takenMs, apartMs: Math.max(...at) - Math.min(...at), faults: wrong };
  }
}

/** Boards in processes of their own. @returns once all have joined */
async function startBoards(stack: AsyncDisposableStack, port: number, { boards, rooms }: Options) {
  const share = Math.ceil(boards / PROCESSES);
  const joined: Promise<unknown>[] = [];
  for (let first = 0; first < boards; first += share) {
    const simulated: Simulated = { port, first, count: Math.min(share, boards - first), rooms };
    const command = [process.execPath, import.meta.path, "--simulate", JSON.stringify(simulated)];
    const child = Bun.spawn(command, { stdout: "pipe" });
    stack.defer(async () => {
      child.kill("SIGKILL");
      await child.exited;
    });
    joined.push(
      child.stdout
        .getReader()
        .read()
        .then(({ done }) => {
          if (done) throw new Error("a process of boards has ended");
        }),
    );
  }
  await Promise.all(joined);
}

async function runBoards(options: Options): Promise<string[]> {
  const { boards, rooms, rounds } = options;
  await using stack = new AsyncDisposableStack();
  const watched = await Watched.start();
  const { server } = watched;
  stack.defer(() => server.kill());
  const startMs = performance.now();
  const empty = await watched.look();
  await startBoards(stack, server.port, options);
  print(`${boards} boards join`, `${((performance.now() - startMs) / 1_000).toFixed(1)} s`);
  print("the hub meanwhile", await watched.since(empty));
  await Bun.sleep(IDLE_MS / 3);
  const idle = await watched.look();
  await Bun.sleep(IDLE_MS);
  print("nothing is said", await watched.since(idle));

  const hub = await House.at(server.port).hub();
  const listener = await Listener.open(hub);
  const faults: string[] = [];
  const measure = async (name: string, room: string, count: number, times: number) => {
    const before = await watched.look();
    const all: Heard[] = [];
    for (let round = 0; round < times; round++) all.push(await listener.announce(room, count));
    faults.push(...all.flatMap((one) => one.faults));
    print(`${name}: sent`, inWords(all.map(({ sentMs }) => sentMs)));
    print(`${name}: taken by all`, inWords(all.map(({ takenMs }) => takenMs)));
    print(`${name}: begun apart`, inWords(all.map(({ apartMs }) => apartMs)));
    print(`${name}: the hub`, await watched.since(before));
  };
  const inRoom = Math.ceil(boards / rooms);
  await measure(`room of ${inRoom}, first time`, roomOf(0, rooms), inRoom, 1);
  await measure(`room of ${inRoom}, again`, roomOf(0, rooms), inRoom, rounds);
  await measure(`all ${boards}, first time`, "all", boards, 1);
  await measure(`all ${boards}, again`, "all", boards, rounds);

  await server.kill();
  const killedMs = Date.now();
  await server.start();
  const again = await House.at(server.port).hub();
  await until(async () => {
    const there = await listBoards(again, Date.now());
    return there.filter(({ at }) => at > killedMs).length === boards;
  }, `${boards} boards are back`);
  print(`${boards} boards back`, `${((Date.now() - killedMs) / 1_000).toFixed(1)} s after the hub's return`);
  return faults;
}

async function runCrowd(): Promise<string[]> {
  const [boards, announcements] = [20, 1_000];
  const { different, said, seconds } = await crowdOf(boards, announcements);
  print(
    `${announcements} announcements`,
    `said ${said} times by ${boards} boards in ${seconds.toFixed(1)} s`,
  );
  const wanted = boards * announcements;
  return [
    ...(different < wanted ? [`${wanted - different} of ${wanted} were lost`] : []),
    ...(said > different ? [`${said - different} were said twice`] : []),
  ];
}

/** How far apart two boards begin that are processes of their own. */
async function runPair({ rounds }: Options): Promise<string[]> {
  await using stack = new AsyncDisposableStack();
  const server = await TestServer.nats();
  stack.defer(() => server.kill());
  const folder = newFolder();
  const hub = `nats://127.0.0.1:${server.port}`;
  const boards = [
    new BoardProcess(folder, hub, "one", '--rooms hallway -m "$STARTER"'),
    new BoardProcess(folder, hub, "two", "--rooms hallway --play-only"),
  ];
  for (const board of boards) {
    stack.defer(async () => void (await board.end("SIGTERM")));
    await board.told("ready:");
  }
  const apartMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const line = `export TTS_FLEET=${hub}; exec $TTS announce --to hallway "Number ${round}."`;
    const { status, stderr } = await shell(line, folder);
    if (status !== 0) return [`tts announce ended with ${status}: ${stderr.trim()}`];
    await until(() => boards.every(({ played }) => played.length > round), "both have said it");
    const [one, two] = boards.map(({ played }) => played[round].firstMs);
    apartMs.push(Math.abs(one - two));
  }
  print("two processes, begun apart", inWords(apartMs));
  return [];
}

const RUNS: Readonly<Record<Part, (options: Options) => Promise<string[]>>> = {
  boards: runBoards,
  crowd: runCrowd,
  pair: runPair,
};

async function main(args: string[]): Promise<void> {
  if (args[0] === "--simulate") return simulate(JSON.parse(args[1]));
  const options = readOptions(args);
  const faults: string[] = [];
  for (const part of options.parts) faults.push(...(await RUNS[part](options)));
  for (const fault of faults.slice(0, SHOWN)) console.log(fault);
  console.log(faults.length === 0 ? "nothing lost, nothing said twice" : `${faults.length} faults`);
  process.exit(faults.length === 0 ? 0 : 1); // connections are still open
}

if (import.meta.main)
  await main(process.argv.slice(2)).catch((error: Error) => {
    console.error(`fleet-load: ${error.message.split("\n")[0]}`);
    process.exit(1);
  });
