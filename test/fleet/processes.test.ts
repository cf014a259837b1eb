// A fleet as a user starts it: a hub and two boards as processes, and the command line from outside. Players
// note when their first byte came.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { newFolder, shell } from "../cli/_tts.ts";
import { until } from "./_house.ts";
import { BoardProcess } from "./_process.ts";
import { describeWith, freePort, TestServer } from "./_servers.ts";

describeWith(["nats-server"], "boards as processes", () => {
  const folder = newFolder();
  let server: TestServer;
  let fleet = "";
  beforeAll(async () => {
    server = await TestServer.nats();
    fleet = `nats://127.0.0.1:${server.port}`;
  });
  afterAll(() => server.kill());

  const run = (line: string) => shell(`export TTS_CACHE=${folder}/desk TTS_FLEET=${fleet}; ${line}`, folder);

  const start = (name: string, options: string) => new BoardProcess(folder, fleet, name, options);

  test("two boards say together what a third machine announces, and end when they are told to", async () => {
    await server.kill(); // it may come after the boards
    const maker = start("one", '--rooms hallway -m "$STARTER"');
    const player = start("two", "--rooms hallway,attic --play-only");
    await player.told(`the hub at ${fleet} does not answer`);
    await server.start();
    await Promise.all([maker.told("ready: one in hallway"), player.told("ready: two in hallway, attic")]);

    const { status, stderr } = await run('exec $TTS announce --to hallway --verbose "Dinner is ready."');
    expect([status, stderr.trim().split("\n").at(-1)!]).toEqual([0, "2 boards say it now: one, two"]);
    await until(() => maker.played.length + player.played.length === 2, "both have said it");
    const [[one], [two]] = [maker.played, player.played];
    expect(one.bytes).toBe(two.bytes);
    expect(one.bytes).toBeGreaterThan(24_000);
    const apartMs = Math.abs(one.firstMs - two.firstMs);
    console.info(`two boards began ${apartMs.toFixed(1)} ms apart`);
    expect(apartMs).toBeLessThan(1_000);

    const [again, listed, table, nowhere, noRoom, mixed] = await Promise.all([
      run('exec $TTS announce --to attic,hallway --chime --verbose "Dinner is ready."'),
      run("exec $TTS fleet --json"),
      run("exec $TTS fleet"),
      run(`exec $TTS announce --to hallway --fleet 127.0.0.1:${await freePort()} "Nobody."`),
      run('exec $TTS announce --to atic "Nobody."'),
      run('exec $TTS announce --to attic --volume 50% "No."'),
    ]);
    expect([again.status, again.stderr.trim().split("\n").at(-1)!]).toEqual([
      0,
      "2 boards say it now: one, two",
    ]);
    const boards = JSON.parse(listed.stdout) as { name: string; rooms: string[]; model: string | null }[];
    expect(boards.map(({ model, name, rooms }) => [name, rooms, model === null])).toEqual([
      ["one", ["hallway"], false],
      ["two", ["hallway", "attic"], true],
    ]);
    expect(table.stdout).toMatch(/^BOARD +ROOMS +.*\none +hallway +.*\ntwo +hallway,attic +- /);
    for (const [{ status: found, stderr: line, stdout }, wanted, words] of [
      [nowhere, 7, "does not answer"],
      [noRoom, 2, "no board is in the room atic; did you mean attic?"],
      [mixed, 2, "--to and --volume do not go together"],
    ] as const) {
      expect([found, stdout, line.trim().split("\n").length]).toEqual([wanted, "", 1]);
      expect(line).toContain(words);
    }
    await until(() => maker.played.length + player.played.length === 4, "both have said it again");
    expect(player.played[1].bytes).toBe(maker.played[1].bytes);
    expect(player.played[1].bytes).toBeGreaterThan(two.bytes); // the chime

    expect(await maker.end("SIGTERM")).toBe(0);
    const left = JSON.parse((await run("exec $TTS fleet --json")).stdout) as { name: string }[];
    expect(left.map(({ name }) => name)).toEqual(["two"]);
    await server.kill(); // a board ends without a hub too
    expect(await player.end("SIGTERM")).toBe(0);
    for (const { stderr } of [maker, player]) expect(stderr).not.toMatch(/Error|\bat .*\.ts:/);
  });

  test("a board that waits for a hub ends when it is told to, and wrong options are refused", async () => {
    fleet = `nats://127.0.0.1:${await freePort()}`; // nobody is there
    const waiting = start("three", "--rooms hallway --play-only");
    await waiting.told("waiting for it");
    expect(await waiting.end("SIGINT")).toBe(0);
    const lines = ["--rooms all", "--rooms a.b", "--play-only", "hallway", "--rooms a --name x/y"];
    const ends = await Promise.all(lines.map((options) => run(`exec $TTS join ${options}`)));
    for (const { status, stderr } of ends) expect([status, stderr.trim().split("\n").length]).toEqual([2, 1]);
  });
});
