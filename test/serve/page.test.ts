// The page in a real browser: what is typed is heard, drawn and lit, on a phone as on a desk. Debian's
// chromium is driven; where it is not installed, the tests say so.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { open } from "../../src/engine.ts";
import { type HttpServer, serveHttp } from "../../src/serve/http/index.ts";
import { pageFile } from "../../src/serve/page/index.ts";
import { Service } from "../../src/serve/service.ts";
import { bundleOf, patient, scratchFolder } from "../_support.ts";

const executablePath = Bun.which("chromium") ?? "";
const works = executablePath !== "" && Bun.spawnSync([executablePath, "--version"]).success;
const installed = works ? describe : describe.skip;
const why = works ? "" : " (skipped: chromium is not installed)";

const TEXT = "The kettle is ready. The time is seven forty five.";
const LONG = "Please close the windows and turn off the lights. ".repeat(20);
const SEED = 7;
const TOKEN = "token-of-eighteen";
const WIDTHS = { phone: 360, tablet: 768, desk: 1280 } as const;
/** Chromium looks for nothing outside, and lets a page sound only after a key or a click. */
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync", "--no-first-run"],
  "--autoplay-policy=user-gesture-required",
];
const patience = { timeout: patient(20_000) };

let service: Service;
let servers: HttpServer[] = [];
let browser: Browser;
/** What the browser complained about. */
const complaints: string[] = [];

/** Runs in the page, which has types of its own: counts the samples of Web Audio, and notes what is lit. */
const WATCH = `
  globalThis.heard = 0;
  globalThis.lit = [];
  addEventListener("DOMContentLoaded", () => {
    const note = ({ target }) => target.className === "lit" && lit.push(target.textContent);
    const watched = { subtree: true, attributeFilter: ["class"] };
    new MutationObserver((changes) => changes.forEach(note)).observe(document.getElementById("transcript"), watched);
  });
  const { start } = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function (...when) {
    globalThis.heard += this.buffer.length;
    return start.apply(this, when);
  };`;

async function opened(server: HttpServer, width: number): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 800 } });
  page.setDefaultTimeout(patience.timeout);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.addInitScript(WATCH);
  await page.goto(server.url);
  return page;
}

const ready = (page: Page) => page.waitForSelector("#voice option", { state: "attached" });
const heardSamples = (page: Page) => page.evaluate("heard");

installed(`the page${why}`, () => {
  beforeAll(async () => {
    const engine = await open({ model: bundleOf("starter").directory });
    service = new Service({ engine, close: () => engine.close() }, { voicesDir: scratchFolder() });
    const tell = { info: () => {}, warn: (line: string) => complaints.push(line), debug: () => {} };
    const common = { host: "127.0.0.1", port: 0, hosts: [], origins: [], tell, page: pageFile };
    servers = [null, TOKEN].map((token) => serveHttp(service, { ...common, token }));
    browser = await chromium.launch({ executablePath, args: FLAGS });
  });
  afterAll(async () => {
    await browser.close();
    for (const server of servers) await server.stop();
    await service.end(0);
  });

  test("speaks what is typed, by keyboard alone, and lights the words as they are said", async () => {
    const whole = await service.speak({ text: TEXT, client: "test", options: { seed: SEED } });
    const samples = (await Array.fromAsync(whole)).reduce((sum, { length }) => sum + length, 0);
    const page = await opened(servers[0], WIDTHS.phone);
    await ready(page);
    await page.focus("#text");
    await page.keyboard.type(TEXT);
    await page.fill("#seed", String(SEED));
    await page.focus("#text");
    await page.keyboard.press("Control+Enter");
    await page.waitForSelector("#stop:not(:disabled)");
    await page.waitForSelector("#stop:disabled"); // it ends by itself
    expect(await heardSamples(page)).toBe(samples);
    // a busy machine may miss a word, but none comes twice or out of turn
    const lit = await page.evaluate<string[]>("lit");
    const missed = TEXT.split(" ").filter((word) => lit[0] !== word || lit.shift() === undefined);
    expect(lit).toEqual([]);
    expect(missed.length).toBeLessThan(4);
    expect(await page.textContent("#transcript")).toBe(TEXT);
    expect(await page.textContent("#used-seed")).toBe(String(SEED));
    expect(await page.textContent("#first-audio")).toMatch(/^\d+ ms$/);
    expect(await page.textContent("#length")).toBe(`${(samples / 24_000).toFixed(2)} s`);
    expect(await page.textContent("#recent")).toContain(TEXT);
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
    expect(download.suggestedFilename()).toBe("the-kettle-is-ready-the-time.wav");
    const wav = await Bun.file(await download.path()).bytes();
    expect(wav.length).toBe(44 + 2 * samples);
    await page.close();
  });

  test("stops at Escape, and the server then stops as well", async () => {
    const page = await opened(servers[0], WIDTHS.desk);
    await ready(page);
    await page.fill("#text", LONG);
    await page.click("#speak");
    await page.waitForSelector("#transcript .lit");
    await page.keyboard.press("Escape");
    await page.waitForSelector("#stop:disabled");
    const deadline = performance.now() + patience.timeout;
    while (service.load.sounding > 0 && performance.now() < deadline) await Bun.sleep(20);
    expect(service.load).toEqual({ sounding: 0, waiting: 0 });
    expect(await page.textContent("#recent")).toContain(LONG.slice(0, 40));
    await page.close();
  });

  test("fits a phone, a tablet and a desk, and every control can be reached by Tab", async () => {
    for (const width of Object.values(WIDTHS)) {
      const page = await opened(servers[0], width);
      await ready(page);
      expect(await page.evaluate<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
      await page.focus("#text");
      const reached: string[] = [];
      for (let press = 0; press < 5; press++) {
        await page.keyboard.press("Tab");
        reached.push(await page.evaluate<string>("document.activeElement.id"));
      }
      expect(reached).toEqual(["model", "voice", "speed", "seed", "speak"]);
      await page.close();
    }
  });

  test("reads a long text in a box of its own, and tells what the voice cannot read", async () => {
    const page = await opened(servers[0], WIDTHS.phone);
    await ready(page);
    await page.fill("#text", LONG);
    await page.click("#speak");
    await page.waitForSelector("#transcript .lit");
    const [text, shown] = await page.evaluate<number[]>("[transcript.scrollHeight, transcript.clientHeight]");
    expect(text).toBeGreaterThan(shown);
    expect(shown).toBeLessThan(300);
    await page.fill("#text", "Hello [pause 100ms] ☃ there.");
    await page.click("#speak");
    await page.waitForSelector("#message:has-text('☃')");
    expect(await page.textContent("#transcript")).toBe("Hello ☃ there.");
    await page.close();
  });

  test("tells in words what the server refuses, and asks for its token", async () => {
    const page = await opened(servers[1], WIDTHS.phone);
    await page.waitForSelector("#token");
    expect(await page.isVisible("#form")).toBe(false);
    await page.fill("#token", "another");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#message:has-text('not the token')");
    await page.fill("#token", TOKEN);
    await page.keyboard.press("Enter");
    await ready(page);
    await page.fill("#text", "[pause]");
    await page.click("#speak");
    await page.waitForSelector("#message:not([hidden])");
    expect(await page.textContent("#message")).toContain("text");
    expect(await page.isDisabled("#stop")).toBe(true);
    await page.close();
    // the browser tells of each refused answer by itself
    expect(complaints.filter((line) => !/status of 40[01]/.test(line))).toEqual([]);
  });
});
