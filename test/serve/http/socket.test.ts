// The WebSocket: text in pieces, sound and words, several speeches in turn, and what goes wrong.

import { expect, test } from "bun:test";
import { toS16le } from "../../../src/audio/pcm.ts";
import { patient } from "../../_support.ts";
import { ENDLESS, engineOf, scripted, serveEngine, stopAfterAll } from "./_server.ts";

stopAfterAll();
const engine = await engineOf("starter");

type Said = { type: string; [field: string]: unknown };
type Message = Buffer | Said;

/** One that says and hears. */
class Client {
  readonly socket: WebSocket;
  private readonly heard: Message[] = [];
  private wake = () => {};
  code = 0;

  constructor(url: string, protocols: string[] = [], headers: Record<string, string> = {}) {
    const address = `${url.replace("http", "ws")}/v1/audio/speech/stream`;
    this.socket = new WebSocket(address, { protocols, headers } as unknown as string[]);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      this.heard.push(typeof data === "string" ? JSON.parse(data) : Buffer.from(data));
      this.wake();
    };
    this.socket.onclose = ({ code }) => {
      this.code = code;
      this.wake();
    };
  }

  async opened(): Promise<this> {
    while (this.socket.readyState === WebSocket.CONNECTING) await Bun.sleep(1);
    return this;
  }

  say(...messages: object[]): void {
    for (const message of messages) this.socket.send(JSON.stringify(message));
  }

  /** Null: the connection has ended. */
  async next(): Promise<Message | null> {
    while (this.heard.length === 0 && this.code === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.wake = resolve;
      await promise;
    }
    return this.heard.shift() ?? null;
  }

  /** All up to the end of a speech, or to an error. */
  async speech(): Promise<{ said: Said[]; sound: Buffer }> {
    const [said, sound]: [Said[], Buffer[]] = [[], []];
    for (;;) {
      const message = await this.next();
      if (message === null) return { said, sound: Buffer.concat(sound) };
      if (Buffer.isBuffer(message)) {
        sound.push(message);
        continue;
      }
      said.push(message);
      if (["done", "error"].includes(message.type)) return { said, sound: Buffer.concat(sound) };
    }
  }
}

const connect = (url: string) => new Client(url).opened();
const text = (piece: string) => ({ type: "text", text: piece });
const END = { type: "end" };
const errorOf = ({ said }: { said: Said[] }) =>
  (said.at(-1) as { error?: { code: string; param: string | null } }).error;

test("text in pieces sounds as the engine's own, with its words, one speech after the other", async () => {
  const client = await connect(serveEngine(engine).url);
  for (const seed of [1, 2]) {
    client.say({ type: "start", seed, words: true }, text("The kettle "), text("is ready. Dinner"));
    client.say(text(" is at seven."), END);
    const { said, sound } = await client.speech();
    const pieces = ["The kettle ", "is ready. Dinner", " is at seven."];
    const own = engine.speak(pieces, { seed, sideBySide: false });
    const samples = (await Array.fromAsync(own)).map((chunk) => toS16le(chunk.samples));
    expect(sound.equals(Buffer.concat(samples))).toBe(true);
    expect(said[0]).toEqual({
      ...{
        type: "started",
        seed,
        response_format: "pcm",
        content_type: "audio/pcm",
        rate: 24_000,
        ignored: [],
      },
    });
    const words: unknown[] = [];
    for (const message of said.filter(({ type }) => type === "words"))
      for (const { index, ...word } of message.words as { index: number }[]) words[index] = word;
    expect(words).toEqual([...own.words]);
    expect(said.at(-1)).toMatchObject({
      type: "done",
      stop: "eos",
      frames: sound.length / 3_840,
      unread: [],
    });
  }
  client.socket.close();
});

test("the first sentence sounds before the text is whole", async () => {
  const client = await connect(serveEngine(engine).url);
  client.say({ type: "start" }, text("The kettle is ready. Dinner"));
  expect(await client.next()).toMatchObject({ type: "started" });
  expect(await client.next()).toBeInstanceOf(Buffer);
  client.say(text(" is at seven."), END);
  expect((await client.speech()).said.at(-1)).toMatchObject({ type: "done", stop: "eos" });
  client.socket.close();
});

test("a speech can be cancelled, also before its first sound, and another may start", async () => {
  const { service, url } = serveEngine(engine);
  const client = await connect(url);
  client.say({ type: "start" }, { type: "cancel" });
  expect((await client.speech()).said.at(-1)).toMatchObject({ type: "done", stop: "cancelled" });
  client.say({ type: "start" }, text("It goes on and on for a while. ".repeat(100)), END);
  expect(await client.next()).toMatchObject({ type: "started" });
  client.say({ type: "cancel" });
  const { said, sound } = await client.speech();
  expect(said.at(-1)).toMatchObject({ type: "done", stop: "cancelled" });
  expect(sound.length).toBeLessThan(48_000 * 60);
  client.say({ type: "start" }, text("Yes."), END);
  expect((await client.speech()).said.at(-1)).toMatchObject({ stop: "eos" });
  expect(service.load).toEqual({ sounding: 0, waiting: 0 });
  client.socket.close();
});

test("what is wrong is told, and the connection stays", async () => {
  const client = await connect(serveEngine(engine).url);
  const cases: readonly [message: object | string | Uint8Array, code: string, param: string | null][] = [
    ["{", "invalid_json", null],
    [new Uint8Array(4), "invalid_json", null],
    ["null", "invalid_value", "type"],
    [{ type: "shout" }, "invalid_value", "type"],
    [text("x"), "no_speech", "type"],
    [END, "no_speech", "type"],
    [{ type: "start", speed: 9 }, "invalid_value", "speed"],
    [{ type: "start", model: "gpt-4" }, "model_not_found", "model"],
    [{ type: "start", voice: "dog" }, "voice_unknown", "voice"],
  ];
  for (const [message, code, param] of cases) {
    client.socket.send(
      typeof message === "string" || message instanceof Uint8Array ? message : JSON.stringify(message),
    );
    const told = await client.speech();
    expect([errorOf(told), told.said.at(-1)!.ended]).toMatchObject([{ code, param }, true]);
  }
  client.say({ type: "start" }, { type: "start" });
  expect((await client.speech()).said).toMatchObject([{ error: { code: "speech_under_way" }, ended: false }]);
  client.say({ type: "text", text: 5 });
  expect(errorOf(await client.speech())).toMatchObject({ code: "invalid_value", param: "text" });
  client.say(END, text("late"));
  expect(errorOf(await client.speech())).toMatchObject({ code: "text_is_whole" });
  expect(errorOf(await client.speech())).toMatchObject({ code: "text_empty", param: "input" });
  client.socket.close();
});

test("a text that does not go on ends its speech, one that is too long is refused, a huge message ends it all", async () => {
  const { service, url } = serveEngine(engine, { limits: { textMs: 100 } });
  const client = await connect(url);
  client.say({ type: "start" }, text("Wait"));
  expect(errorOf(await client.speech())).toMatchObject({ code: "request_timeout" });
  expect(service.load).toEqual({ sounding: 0, waiting: 0 });
  client.say({ type: "start" }, ...new Array(5).fill(text("a".repeat(60_000))));
  expect(errorOf(await client.speech())).toMatchObject({ code: "text_too_long", param: "input" });
  client.say(text("a".repeat(70_000)));
  while ((await client.next()) !== null);
  expect(client.code).toBeGreaterThan(1_000);
});

test("a token comes in a header or, from a browser, as a subprotocol", async () => {
  const { url } = serveEngine(engine, { token: "t/+=" });
  const protocol = `tts.token.${Buffer.from("t/+=").toString("base64url")}`;
  const browser = await new Client(url, ["tts", protocol]).opened();
  expect([browser.socket.readyState, browser.socket.protocol]).toEqual([WebSocket.OPEN, "tts"]);
  browser.socket.close();
  const program = await new Client(url, [], { authorization: "Bearer t/+=" }).opened();
  expect(program.socket.readyState).toBe(WebSocket.OPEN);
  program.socket.close();
  const stranger = await new Client(url, ["tts", "tts.token.eA"]).opened();
  expect(stranger.socket.readyState).not.toBe(WebSocket.OPEN);
});

test("a client that goes ends its speech", async () => {
  const endless = await scripted({ pieces: ENDLESS });
  const { service, url } = serveEngine(endless);
  const client = await connect(url);
  client.say({ type: "start" }, text("Go on."), END);
  await client.next();
  client.socket.terminate();
  for (let waitedMs = 0; service.load.sounding > 0 && waitedMs < patient(2_000); waitedMs += 5)
    await Bun.sleep(5);
  expect(service.load).toEqual({ sounding: 0, waiting: 0 });
  expect(endless.cancelled).toBe(1);
  expect(endless.pulled).toBeLessThan(ENDLESS.length);
});

test("there is a bound to how many are open", async () => {
  const { url } = serveEngine(engine, { limits: { sockets: 1 } });
  const first = await connect(url);
  const second = await connect(url);
  expect(second.socket.readyState).not.toBe(WebSocket.OPEN);
  first.socket.close();
  while (first.code === 0) await first.next();
  await Bun.sleep(20);
  const third = await connect(url);
  expect(third.socket.readyState).toBe(WebSocket.OPEN);
  third.socket.close();
});
