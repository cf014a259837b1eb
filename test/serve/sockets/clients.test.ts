// Clients of the stage servers that are slow, broken, too many or far ahead: they hurt no other client. Real
// processes and sockets.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { patientSeconds } from "../../_support.ts";
import { converse, LONG_FRAMES, nextFrame, request, vocode, Wire, zeros } from "./_client.ts";
import { pause, type Served, STAGES, type Stage, serveStarter, stopServers, TEXT } from "./_server.ts";

const PATIENCE_S = patientSeconds(1);
let { allGood, expected, server, tables } = {} as Served;
beforeAll(async () => {
  ({ allGood, expected, server, tables } = await serveStarter("--patience", String(PATIENCE_S)));
});
afterAll(stopServers);

describe("while somebody speaks", () => {
  /** Opens a connection, sends something, and leaves or stays. */
  const nuisance = async (stage: Stage, parts: ArrayBufferView[], stays: boolean): Promise<Wire> => {
    const wire = await Wire.open(server.socket(stage));
    wire.socket.pause();
    if (parts.length > 0) wire.send(...parts);
    if (!stays) wire.close();
    return wire;
  };
  test("malformed, truncated, oversized and silent clients, and those that leave at once, do no harm", async () => {
    const wires: Promise<Wire>[] = [];
    const garbage = new Uint8Array(200_000).fill(0x7f);
    const kinds: [Stage, ArrayBufferView[]][] = [
      ...STAGES.map((stage): [Stage, ArrayBufferView[]] => [stage, []]),
      ...STAGES.map((stage): [Stage, ArrayBufferView[]] => [stage, [garbage]]),
      ["talker", [Uint32Array.of(500), Buffer.from('{"text":')]],
      ["talker", [Uint32Array.of(2 ** 31)]],
      ["predictor", [new Float32Array(tables.hidden)]],
      ["vocoder", [Int32Array.of(10_000), new BigInt64Array(16)]],
      ["vocoder", zeros(50)],
    ];
    const frames = await converse(
      server.folder,
      tables,
      { text: TEXT },
      {
        onFrame: (frame) => {
          const [stage, parts] = kinds[frame % kinds.length];
          for (const stays of [false, true]) wires.push(nuisance(stage, parts, stays));
        },
      },
    );
    expect(frames).toEqual(expected.frames);
    expect((await vocode(server.folder, frames)).equals(expected.samples)).toBe(true);
    for (const wire of await Promise.all(wires)) wire.close();
    await allGood();
  });

  /** Two clients that each have a lane and the turn. */
  const withLanes = async () => {
    const both = await Promise.all([0, 1].map(() => Wire.open(server.socket("talker"))));
    for (const talker of both) {
      talker.send(request({ text: TEXT }));
      await nextFrame(talker, tables.hidden);
    }
    return both;
  };

  test.each(["nothing", "a byte now and then"])(
    "a lane whose client sends %s goes to one that waits",
    async (what) => {
      const from = server.stderr.length;
      const slow = await withLanes();
      const dripping = setInterval(() => {
        if (what !== "nothing") for (const wire of slow) wire.send(Uint8Array.of(0));
      }, 100);
      await Promise.all([allGood(), allGood()]);
      await server.says(
        /talker: client \d+: it has not done its part for \d+ s while others waited for its lane\n/,
        from,
      );
      expect(await slow[0].rest()).toEqual(Buffer.from(Int32Array.of(-2).buffer));
      clearInterval(dripping);
      for (const wire of slow) wire.close();
    },
  );

  test("a client that was quick while the stage itself was stopped keeps its lane", async () => {
    const quick = await withLanes();
    const others = Promise.all([allGood(), allGood()]);
    await pause(100); // they wait for lanes
    process.kill(server.processOf("talker"), "SIGSTOP");
    for (const wire of quick) wire.send(tables.feedback(expected.frames[0]));
    await pause(1_200);
    process.kill(server.processOf("talker"), "SIGCONT");
    for (const wire of quick) {
      expect(await nextFrame(wire, tables.hidden)).toMatchObject({ code0: expected.frames[1][0] });
      wire.close();
    }
    await others;
  });

  test("a lane whose client does not read its sound goes to one that waits", async () => {
    const deaf = await Promise.all([0, 1].map(() => nuisance("vocoder", zeros(LONG_FRAMES), true)));
    await pause(200); // both have their lanes
    await Promise.all([allGood(), allGood()]);
    for (const wire of deaf) wire.close();
  });

  test("among too many connections, those that send nothing or a byte now and then make room", async () => {
    const many = await Promise.all(
      STAGES.flatMap((stage) => Array.from({ length: 64 }, () => Wire.open(server.socket(stage)))),
    );
    for (let i = 0; i < 3; i++) {
      await pause(380 * PATIENCE_S);
      for (const wire of many) wire.send(Uint8Array.of(0));
    }
    await allGood();
    for (const wire of many) wire.close();
  });

  test("clients that went away while they waited for a lane make room at once", async () => {
    let isEnough = false;
    /** Keeps a lane, but is never late with a turn. */
    const hold = async () => {
      const talker = await Wire.open(server.socket("talker"));
      while (!isEnough) {
        talker.send(request({ text: TEXT }));
        for (const codes of expected.frames) {
          await nextFrame(talker, tables.hidden);
          if (!isEnough) await pause(150);
          talker.send(tables.feedback(codes));
        }
        expect(await nextFrame(talker, tables.hidden)).toBe(-1);
      }
      talker.close();
    };
    const holders = [hold(), hold()];
    await pause(300);
    const gone = await Promise.all(Array.from({ length: 62 }, () => Wire.open(server.socket("talker"))));
    for (const wire of gone) wire.send(request({ text: TEXT }));
    await pause(300);
    for (const wire of gone) wire.close();
    const from = server.stderr.length;
    await pause(1_500); // the server looks once a second
    const all = Promise.all([allGood(), allGood()]);
    isEnough = true;
    await Promise.all([all, ...holders]);
    expect(server.stderr.slice(from)).not.toContain("sent away");
  });

  test("a client that is far ahead with its feedback, and reads late, gets every frame as it was", async () => {
    const sentence = [request({ text: TEXT }), ...expected.frames.map((codes) => tables.feedback(codes))];
    const bytes = expected.frames.length * (4 + 4 * tables.hidden) + 4;
    const all = async (sentences: number, lateMs: number) => {
      const talker = await Wire.open(server.socket("talker"));
      talker.socket.pause();
      for (let i = 0; i < sentences; i++) talker.send(...sentence);
      // fills the socket; if it does not, the test still passes but shows less
      await pause(lateMs);
      talker.socket.resume();
      const read = await talker.take(sentences * bytes);
      talker.close();
      return Array.from({ length: sentences }, (_, i) =>
        read.subarray(i * bytes, (i + 1) * bytes).toString("hex"),
      );
    };
    const [ahead, [alone]] = await Promise.all([all(20, 1_000), all(1, 0)]);
    expect(new Set(ahead)).toEqual(new Set([alone]));
  });

  test("a client that sends without end and never reads does not fill the memory", async () => {
    const status = `/proc/${server.processOf("predictor")}/status`;
    const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(status, "utf8"))![1]);
    const before = rss();
    const predictor = await nuisance("predictor", [], true);
    const block = Buffer.alloc(2 ** 20);
    for (let i = 0; i < 64; i++) predictor.socket.write(block);
    await pause(500);
    await allGood();
    expect(rss() - before).toBeLessThan(32_000);
    predictor.close();
  });
});
