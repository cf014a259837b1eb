// tts join: makes this machine a board of a fleet, until a signal ends it.

import { join } from "node:path";
import { version } from "../../../package.json";
import { queueFolder } from "../../announce/queue.ts";
import { playerCommand } from "../../audio/play/players.ts";
import { loadConfig } from "../../config.ts";
import { TtsError } from "../../errors.ts";
import type { Board } from "../../fleet/board.ts";
import { Heard } from "../../fleet/heard.ts";
import { SharedPhrases } from "../../fleet/phrases.ts";
import type { RenderWorker } from "../../fleet/render/worker.ts";
import { SAMPLE_RATE_HZ } from "../../types.ts";
import { readNight } from "../shared/announce-options.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { enterFleet, FLEET_SECTIONS, namedHub, nameOf, type WayIn } from "../shared/fleet-options.ts";
import { KeptModel } from "../shared/kept-model.ts";
import { kindOf } from "../shared/kind.ts";
import { log, TELL } from "../shared/log.ts";
import { openOthersPhrases, openPhrases, readPhraseBase, readPhraseOptions } from "../shared/phrases.ts";
import { PLAYED, readPlay, readShape } from "../shared/play-options.ts";
import { firstSignal } from "../shared/signals.ts";
import { brokerOf, openBridge } from "./_bridge.ts";
import { JOIN_OPTIONS, type JoinValues, readRooms } from "./_options.ts";
import { type Manner, PlayedAloud } from "./_say.ts";

export const command = defineCommand({
  brief: "make this machine a board of a fleet, which speaks in rooms",
  synopsis: "join [OPTIONS]",
  description: [
    "Connects to a hub (Debian's nats-server, started with -js), and says what is announced for its rooms with tts announce --to ROOM. Nothing listens on this machine. It also makes sound for other boards, and sentences of books (tts render). Runs until a signal ends it; waits for a hub that has gone.",
    "Announcements begin on all boards at the same moment of the hub's clock, whatever the boards' own clocks show. One whose time has passed is not said. An announcement that has begun is not said again, even if the board was killed in the middle.",
    'With a broker of MQTT (--mqtt) it also takes what others send to the topic tts/ROOM/say, as a text or as JSON such as {"text": "Dinner is ready.", "chime": true}, and writes to tts/ROOM/outcome what became of it. Home Assistant finds a device for each room. Of several such boards one takes each message.',
    "SIGTERM or SIGINT ends it with status 0: what sounds may finish, for at most 5 s; what waits is said when the board is back, if it is not too late.",
  ],
  examples: [
    ["tts join --rooms hallway,ground-floor", "with the hub that TTS_FLEET names"],
    [
      "tts join --fleet nats://hub:4222 --rooms nursery --quiet-hours 19:00-07:00 --volume 50%",
      "in its own manner",
    ],
    ["tts join --rooms kitchen --play-only", "a small board: others make the sound"],
    ["tts join --mqtt mqtt://broker:1883", "for Home Assistant and others"],
    ["tts join", "no room: this machine works for the others"],
  ],
  sections: {
    ...FLEET_SECTIONS,
    ENVIRONMENT: [...FLEET_SECTIONS.ENVIRONMENT, "TTS_MQTT\nThe broker of MQTT, where --mqtt names none."],
  },
  options: JOIN_OPTIONS,
  run: runBoard,
});

async function runBoard(args: JoinValues, { positionals }: CommandData): Promise<void> {
  if (positionals.length > 0)
    throw new TtsError("USAGE", `join takes no ${JSON.stringify(positionals[0])}`, "rooms: --rooms ROOM,...");
  const broker = brokerOf(args);
  const rooms = readRooms(args, broker !== null);
  const name = nameOf(args);
  const manner = readManner(args);
  namedHub(args.fleet); // or there is none: that is told before a model is made
  if (rooms.length > 0) playerCommand({ ...manner.play, rateHz: SAMPLE_RATE_HZ }); // or there is none
  const signalled = firstSignal();
  const base = args["play-only"] === true ? null : await readBase(args);
  const entered = await Promise.race([
    enterFleet(args.fleet, name, { patient: true, tell: TELL }),
    signalled,
  ]);
  if (entered === null) return;
  const board = await boardOf({ ...entered, args, base, name, rooms, manner });
  const closeBridge =
    broker === null
      ? null
      : await openBridge(broker, args, entered, name).catch(async (error) => {
          await board.board.leave();
          throw error;
        });
  const { model } = board.board.state;
  log.info(
    `ready: ${name} in ${rooms.join(", ") || "no room"}, ${model === null ? "plays only" : `model ${model}`}, hub ${entered.hub.url}${broker === null ? "" : `, MQTT ${broker.url}`}`,
  );
  await signalled;
  log.info("leaving: what sounds may finish");
  await closeBridge?.();
  await board.worker?.stop();
  await board.board.leave();
  await board.model?.close();
}

type Base = Awaited<ReturnType<typeof readBase>>;

/** How it speaks, and with what. @throws TtsError as {@link readPhraseBase} */
async function readBase(args: JoinValues) {
  const options = await readPhraseOptions(args);
  return { options, phrases: await readPhraseBase(args, options) };
}

/** @throws TtsError USAGE, OUTPUT_FAILED */
function readManner(args: JoinValues): Manner {
  const playing = { ...args, play: true, speed: undefined, start: undefined };
  return {
    night: readNight(args),
    quietWords: `quiet hours are ${args["quiet-hours"]}`,
    play: readPlay(playing)!,
    shape: { ...PLAYED, ...readShape(playing) },
    folder: queueFolder(loadConfig().cacheDir),
  };
}

interface Parts extends WayIn {
  args: JoinValues;
  base: Base | null;
  name: string;
  rooms: readonly string[];
  manner: Manner;
}

/** @throws TtsError as opening the model and joining do */
async function boardOf({
  base,
  clock,
  hub,
  manner,
  name,
  rooms,
}: Parts): Promise<{ board: Board; model: KeptModel | null; worker: RenderWorker | null }> {
  const { Board } = await import("../../fleet/board.ts");
  const { RenderWorker } = await import("../../fleet/render/worker.ts");
  const model =
    base === null ? null : new KeptModel(base.phrases, base.options, loadConfig().voicesDir, clock);
  const engine = await model?.warmUp();
  const board = new Board(hub, clock, {
    ...{ name, rooms, version, tell: TELL },
    model:
      model === null || base === null || engine === undefined
        ? null
        : {
            name: base.phrases.bundle.manifest.name,
            kind: kindOf(base.phrases, engine),
            lanes: engine.config.lanes,
            rtf: () => model.rtf(),
            make: (order, signal) => model.make(order, signal),
          },
    say: new PlayedAloud(clock, manner),
    phrases: new SharedPhrases(hub, openPhrases(), openOthersPhrases()),
    heard: new Heard(join(manner.folder, "heard", name)),
  });
  await board.join();
  const { kind, lanes } = board.state;
  if (model === null || kind === null) return { board, model, worker: null };
  const worker = new RenderWorker(hub, {
    ...{ board: name, kind, lanes, tell: TELL },
    engine: () => model.engine(),
    isUrgent: () => board.isMaking,
    count(rendering) {
      board.rendering = rendering;
    },
    fault: (error) => board.fault(error),
  });
  worker.start();
  return { board, model, worker };
}
