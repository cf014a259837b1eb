// Processes of the stage servers that die, hang or are ended: what their clients see, and how the processes
// return. Real processes and signals.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { npuFolderOf } from "../../_npu.ts";
import { compiler, compileStandIns, compileText, noCompiler, standInEnvironment } from "../../_standins.ts";
import { bundleOf, openOptions, patientSeconds, ROOT, scratchFolder } from "../../_support.ts";
import {
  converse,
  type Frame,
  LONG_FRAMES,
  nextFrame,
  predict,
  request,
  vocode,
  Wire,
  zeros,
} from "./_client.ts";
import {
  isRunning,
  newFolder,
  pause,
  type Served,
  Server,
  STAGES,
  type Stage,
  serveStarter,
  stopServers,
  TEXT,
  until,
} from "./_server.ts";

/** Of the server with clients, and of stages that are to be late, while a dozen others start. */
const PATIENCE_S = patientSeconds(1.5);

let { allGood, expected, server, starter, tables } = {} as Served;
beforeAll(async () => {
  ({ allGood, expected, server, starter, tables } = await serveStarter("--patience", String(PATIENCE_S)));
});
afterAll(stopServers);

/** Replaces the supervisor's kill(): while the file is there, SIGKILL only makes it a byte longer. */
const IN_A_DRIVER = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int kill(pid_t pid, int signal) {
  int file = signal == SIGKILL ? open(getenv("TTS_TEST_KILLS"), O_WRONLY | O_APPEND) : -1;
  if (file < 0) return syscall(SYS_kill, pid, signal);
  int written = write(file, ".", 1);
  close(file);
  return written == 1 ? 0 : -1;
}`;
/** A library that never finishes loading. */
const SLOW_LIBRARY = `
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void load(void) {
  close(open(getenv("TTS_TEST_SLOW"), O_WRONLY | O_CREAT, 0600));
  for (;;) pause();
}`;

describe("a stage that is killed", () => {
  const kill = (stage: Stage) => {
    const [pid, from] = [server.processOf(stage), server.stderr.length];
    process.kill(pid, "SIGKILL");
    return async () => {
      await server.says(
        new RegExp(`^tts: warning: the ${stage} process ended \\(SIGKILL\\); it is started again\n`, "m"),
        from,
      );
      await server.says(new RegExp(`^${stage}: back on `, "m"), from);
      expect(server.processOf(stage)).not.toBe(pid);
      expect(isRunning(pid)).toBe(false);
    };
  };

  test("the talker: its client sees the end, the others go on, and it returns", async () => {
    const talker = await Wire.open(server.socket("talker"));
    talker.send(request({ text: TEXT }));
    const frame = (await nextFrame(talker, tables.hidden)) as Frame;
    const back = kill("talker");
    talker.send(tables.feedback(expected.frames[0]));
    await expect(nextFrame(talker, tables.hidden)).rejects.toThrow("closed after 0 of 4 bytes");
    const predictor = await Wire.open(server.socket("predictor"));
    expect(await predict(predictor, frame)).toEqual(expected.frames[0]);
    predictor.close();
    expect((await vocode(server.folder, expected.frames)).equals(expected.samples)).toBe(true);
    await back();
    await allGood();
  });

  test("the predictor: the sentence goes on where it was, with a new connection", async () => {
    const talker = await Wire.open(server.socket("talker"));
    let predictor = await Wire.open(server.socket("predictor"));
    talker.send(request({ text: TEXT }));
    const frames: number[][] = [];
    for (;;) {
      const frame = await nextFrame(talker, tables.hidden);
      if (typeof frame === "number") break;
      if (frames.length === 3) {
        const back = kill("predictor");
        await expect(predict(predictor, frame)).rejects.toThrow("closed after 0 of 60 bytes");
        await back();
        predictor = await Wire.open(server.socket("predictor"));
      }
      frames.push(await predict(predictor, frame));
      talker.send(tables.feedback(frames.at(-1)!));
    }
    expect(frames).toEqual(expected.frames);
    for (const wire of [talker, predictor]) wire.close();
  });

  test("the vocoder: its client sees the end in the middle of the sound", async () => {
    const vocoder = await Wire.open(server.socket("vocoder"));
    vocoder.send(...zeros(LONG_FRAMES));
    expect((await vocoder.take(4)).readInt32LE()).toBe(LONG_FRAMES * 1920);
    await vocoder.take(2 * 1920);
    const back = kill("vocoder");
    const rest = await vocoder.rest();
    expect(rest.length).toBeLessThan(2 * 1920 * (LONG_FRAMES - 1));
    await converse(server.folder, tables, { text: TEXT });
    await back();
    await allGood();
  });

  test("comes back when the cause that stops it from starting is mended", async () => {
    const bundle = join(scratchFolder(), "mended");
    cpSync(starter, bundle, { recursive: true });
    const one = await Server.start(["-m", bundle, "--stage", "vocoder"]);
    const file = join(bundle, "vocoder.onnx");
    renameSync(file, `${file}.away`);
    process.kill(one.processOf("vocoder"), "SIGKILL");
    await one.says(/vocoder\.onnx is missing; .+; it is started again\n/);
    renameSync(`${file}.away`, file);
    await one.says(/^vocoder: back on /m);
    expect((await vocode(one.folder, expected.frames)).equals(expected.samples)).toBe(true);
    await one.stop();
  });
});

describe("a stage that gives no sign of life", () => {
  test("is not one that computes a long prompt: it gives one after every piece", async () => {
    const folder = newFolder();
    const path = join(folder, "talker.sock");
    const job = {
      stage: "talker",
      path,
      mode: 0o600,
      bundle: starter,
      greedy: true,
      patienceMs: 1_000 * PATIENCE_S,
      beatMs: 2 ** 30,
    };
    const child = spawn(process.execPath, [join(ROOT, "tts.ts"), "serve", "stage"], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const heard: string[] = [];
    child.on("message", (message) => heard.push(Object.keys(message)[0]));
    child.send({ ...job, config: openOptions(bundleOf("starter")).config });
    await until(() => heard.includes("ready"));
    expect(heard).toEqual(["opening", "ready"]);
    const talker = await Wire.open(path);
    talker.send(request({ text: TEXT }));
    await nextFrame(talker, tables.hidden);
    await until(() => heard.length > 3);
    expect(heard.slice(2)).toEqual(["beat", "beat"]); // the common start of prompts, and the rest of this one
    talker.close();
    child.disconnect();
    await new Promise((resolve) => child.once("exit", resolve));
  });

  // From here to the end of the NPU's, all wait for a patience, each with a server of its own: side by side.
  test.concurrent("is replaced, and its clients see the end", async () => {
    const one = await Server.start(["-m", starter, "--greedy"], { TTS_STAGE_TIMEOUT: `${PATIENCE_S}` });
    const pid = one.processOf("predictor");
    const predictor = await Wire.open(one.socket("predictor"));
    process.kill(pid, "SIGSTOP");
    predictor.send(new Float32Array(tables.hidden + 1));
    await expect(predictor.take(60)).rejects.toThrow("closed after 0 of 60 bytes");
    const patience = "TTS_STAGE_TIMEOUT is the patience in seconds";
    const what = `process ${pid} is killed, and another one starts when it is gone; ${patience}\n`;
    await one.says(
      new RegExp(
        `^tts: warning: the predictor \\(\\w+\\) has given no sign for ${PATIENCE_S} s; ${what}`,
        "m",
      ),
    );
    await one.says(/^tts: warning: the predictor process ended \(SIGKILL\); it is started again\n/m);
    await one.says(/^predictor: back on /m);
    expect(isRunning(pid)).toBe(false);
    await allGood(one);
    // A supervisor that was stopped itself knows nothing of its stages.
    process.kill(one.pid, "SIGSTOP");
    await pause(1_200 * PATIENCE_S);
    process.kill(one.pid, "SIGCONT");
    await pause(500);
    await allGood(one);
    expect(one.stderr.match(/no sign/g)?.length).toBe(1);
    await one.stop();
  });

  test.concurrent.skipIf(compiler === null)(
    `is killed once, and that is said once, however long it takes to end${noCompiler}`,
    async () => {
      const [library, kills] = [join(scratchFolder(), "in-a-driver.so"), join(scratchFolder(), "kills")];
      compileText(library, IN_A_DRIVER);
      const one = await Server.start(["-m", starter, "--stage", "vocoder"], {
        ...{ LD_PRELOAD: library, TTS_TEST_KILLS: kills, TTS_STAGE_TIMEOUT: String(PATIENCE_S / 2) },
      });
      const pid = one.processOf("vocoder");
      writeFileSync(kills, "");
      process.kill(pid, "SIGSTOP");
      await until(() => statSync(kills).size > 0);
      await pause(1_000 * PATIENCE_S); // it is looked at eight times meanwhile
      expect(statSync(kills).size).toBe(1);
      rmSync(kills);
      process.kill(pid, "SIGKILL");
      await one.says(/^vocoder: back on /m);
      expect(one.stderr.match(/^tts: .*/gm)).toEqual([
        expect.stringContaining(`process ${pid} is killed`),
        "tts: warning: the vocoder process ended (SIGKILL); it is started again",
      ]);
      await one.stop();
    },
  );
});

describe.skipIf(compiler === null)(`a stage on an NPU${noCompiler}`, () => {
  const onStandIn = (
    stage: "predictor" | "vocoder",
    choice: string,
    fault: string,
    more: Record<string, string> = {},
  ) => {
    const { axcl, rknn } = compileStandIns();
    const environment = {
      TTS_LIBAXCL: axcl,
      TTS_LIBRKNNRT: rknn,
      TTS_NPU_FAULT: fault,
      TTS_STAGE_TIMEOUT: String(2 * PATIENCE_S),
      ...more,
    };
    const folder = npuFolderOf(bundleOf("starter"), stage === "vocoder" ? "rknn" : "axcl");
    const args = ["-m", starter, "--stage", stage, `--${stage}`, choice, "--npu", folder];
    return new Server(newFolder(), args, standInEnvironment(environment));
  };

  /** What the server says of a vocoder that it replaces. */
  const late = (what: string) =>
    new RegExp(
      `^tts: warning: the vocoder \\(rknn\\) ${what} ${2 * PATIENCE_S} s; process \\d+ is killed.*; --vocoder ort does without it; `,
      "m",
    );

  test.concurrent("is replaced when a call into its library never returns", async () => {
    // after its self-test; the next process does the same
    const one = onStandIn("vocoder", "rknn", "rknn_run:hang:5");
    await one.says(/^ready: /m);
    const pid = one.processOf("vocoder");
    await expect(vocode(one.folder, expected.frames)).rejects.toThrow();
    await one.says(late("has given no sign for"));
    await one.says(/^tts: warning: the vocoder process ended \(SIGKILL\); it is started again\n/m);
    await one.says(/^vocoder: back on /m);
    expect(isRunning(pid)).toBe(false);
    await one.stop();
  });

  test.concurrent("that hangs before it is ready ends the server after the patience, whether or not it was asked for by name", async () => {
    const cases = [
      ["vocoder", "rknn", "rknn_run", "rknn"],
      ["vocoder", "auto", "rknn_run", "rknn"],
      ["predictor", "auto", "axclrtEngineLoadFromFile", "axcl"],
    ] as const;
    const all = cases.map(([stage, choice, call]) => onStandIn(stage, choice, `${call}:hang:1`));
    for (const [i, [stage, , , backend]] of cases.entries()) {
      expect(await all[i].exited).toBe(8);
      const hint = `--${stage} ort does without it; TTS_STAGE_TIMEOUT is the patience in seconds`;
      expect(all[i].stderr).toBe(
        `tts: the ${stage} (${backend}) was not ready after ${2 * PATIENCE_S} s; ${hint}\n`,
      );
      expect(readdirSync(all[i].folder)).toEqual([]);
    }
  });

  test.concurrent("that hangs when it is started again is ended after the patience, and comes back when it can", async () => {
    const folder = newFolder();
    const [library, slow, good] = ["librknnrt.so", "slow.so", "good.so"].map((name) => join(folder, name));
    copyFileSync(compileStandIns().rknn, good);
    compileText(slow, SLOW_LIBRARY);
    const use = (file: string) => {
      copyFileSync(file, `${library}.new`); // processes keep the old one
      renameSync(`${library}.new`, library);
    };
    use(good);
    const one = onStandIn("vocoder", "rknn", "", {
      TTS_LIBRKNNRT: library,
      TTS_TEST_SLOW: join(folder, "loading"),
    });
    await one.says(/^ready: /m);
    use(slow);
    process.kill(one.processOf("vocoder"), "SIGKILL");
    await one.says(late("was not ready after"));
    use(good);
    await one.says(/^vocoder: back on /m);
    await one.stop();
  });

  test.concurrent("has more time to open on the processor, if that takes the NPU's place", async () => {
    const [library, marker] = [join(scratchFolder(), "slow.so"), join(scratchFolder(), "slow")];
    compileText(library, SLOW_LIBRARY);
    const slow = { TTS_LIBONNXRUNTIME: library, TTS_TEST_SLOW: marker, TTS_STAGE_TIMEOUT: `${PATIENCE_S}` };
    const one = onStandIn("vocoder", "auto", "", { ...slow, TTS_NPU_STANDIN: "" }); // so the NPU's library is refused
    await until(() => existsSync(marker));
    await pause(1_500 * PATIENCE_S);
    expect(one.stderr).toBe("");
    await one.stop();
  });

  test("speaks to clients as on the processor", async () => {
    const one = onStandIn("vocoder", "rknn", "");
    await one.says(/^ready: /m);
    const given = await vocode(one.folder, expected.frames);
    const differences = Array.from({ length: given.length / 2 }, (_, i) => {
      return Math.abs(given.readInt16LE(2 * i) - expected.samples.readInt16LE(2 * i));
    });
    expect(given.length).toBe(expected.samples.length);
    expect(Math.max(...differences)).toBeLessThanOrEqual(2);
    await one.stop();
  });

  test("is started again by a signal, also while it hangs", async () => {
    const one = onStandIn("vocoder", "rknn", "rknn_run:hang:5", { TTS_STAGE_TIMEOUT: "100" });
    await one.says(/^ready: /m);
    const sound = vocode(one.folder, expected.frames);
    await pause(300); // it hangs, or will
    process.kill(one.processOf("vocoder"), "SIGTERM");
    await expect(sound).rejects.toThrow();
    await one.says(/^tts: warning: the vocoder process ended \(SIGTERM\); it is started again\n/m);
    await one.says(/^vocoder: back on /m);
    await one.stop();
  });
});

describe("a server that is ended", () => {
  const left = (folder: string) => readdirSync(folder);
  test.each([["SIGTERM", 143] as const, ["SIGINT", 130] as const])(
    "by %s leaves no socket and no process",
    async (signal, status) => {
      const one = await Server.start(["-m", starter]);
      const stages = STAGES.map((stage) => one.processOf(stage));
      const talker = await Wire.open(one.socket("talker"));
      talker.send(request({ text: TEXT }));
      await nextFrame(talker, tables.hidden);
      expect(await one.stop(signal)).toBe(status);
      expect(left(one.folder)).toEqual([]);
      await until(() => !stages.some(isRunning));
      await expect(nextFrame(talker, tables.hidden)).rejects.toThrow("closed");
    },
  );

  test("goes on when its terminal hangs up, if it was started for that", async () => {
    const program = ["nohup", process.execPath, join(ROOT, "tts.ts")];
    const one = await Server.start(["-m", starter, "--stage", "vocoder"], {}, undefined, program);
    process.kill(one.pid, "SIGHUP");
    expect((await vocode(one.folder, [Array(16).fill(1)])).length).toBe(2 * 1920);
    expect(isRunning(one.pid)).toBe(true);
    expect(await one.stop("SIGTERM")).toBe(143);
  });

  test("by force ends its stages too, and the next one starts in its folder", async () => {
    const folder = newFolder();
    const one = await Server.start(["-m", starter], {}, folder);
    const stages = STAGES.map((stage) => one.processOf(stage));
    await one.stop("SIGKILL");
    await until(() => !stages.some(isRunning));
    expect(left(folder).length).toBeGreaterThan(0); // nobody could tidy up
    const two = await Server.start(["-m", starter], {}, folder);
    // All processes at once, as in a power failure: the sockets stay behind.
    const processes = STAGES.map((stage) => two.processOf(stage));
    for (const pid of processes) process.kill(pid, "SIGSTOP");
    const ended = two.stop("SIGKILL");
    for (const pid of processes) process.kill(pid, "SIGKILL");
    await ended;
    await until(() => !processes.some(isRunning));
    expect(STAGES.every((stage) => existsSync(two.socket(stage)))).toBe(true);
    const three = await Server.start(["-m", starter, "--greedy"], {}, folder);
    await allGood(three);
    await three.stop();
    expect(left(folder)).toEqual([]);
  });
});
