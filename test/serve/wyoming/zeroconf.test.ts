// What the local network is told of the Wyoming server, heard on the network itself where that carries it.

import { expect, test } from "bun:test";
import multicastDns from "multicast-dns";
import { Service } from "../../../src/serve/service.ts";
import { serveWyoming } from "../../../src/serve/wyoming/index.ts";
import { patient, rejectionOf } from "../../_support.ts";

const TYPE = "_wyoming._tcp.local";
const WAIT_MS = 200;

const service = new Service({ engine: null, close: async () => {} }, { voicesDir: "/nowhere" });
const tell = { info() {}, warn() {}, debug() {} };
const serve = (name: string) =>
  serveWyoming(service, { host: "0.0.0.0", port: 0 }, { tell, zeroconf: { name } });

interface Heard {
  name: string;
  type: string;
  ttl?: number;
  data: unknown;
}

/** Asks the network, and gives the records of all answers that come in a while. */
async function ask(name: string, type: "PTR" | "SRV" | "A", until: (heard: Heard[]) => boolean, ms: number) {
  const asker = multicastDns();
  const heard: Heard[] = [];
  asker.on("warning", () => {});
  asker.on("response", ({ additionals, answers }) =>
    heard.push(...([...answers, ...additionals] as Heard[])),
  );
  asker.query(name, type);
  for (let waitedMs = 0; !until(heard) && waitedMs < ms; waitedMs += 20) await Bun.sleep(20);
  await new Promise<void>((resolve) => asker.destroy(resolve));
  return heard;
}

/** Whether what is sent here comes back. */
async function carries(): Promise<boolean> {
  const responder = multicastDns();
  responder.on("query", () => responder.respond([{ name: "try.local", type: "A", data: "192.0.2.1" }]));
  const heard = await ask(
    "try.local",
    "A",
    (all) => all.some(({ name }) => name === "try.local"),
    patient(1_000),
  );
  await new Promise<void>((resolve) => responder.destroy(resolve));
  return heard.some(({ name }) => name === "try.local");
}

const isCarried = await carries().catch(() => false);
if (!isCarried) console.warn("multicast does not come back on this network");

test.skipIf(!isCarried)(
  "the server is found by its type, under its name, and withdrawn at its end",
  async () => {
    const server = await serve("Küche 1.7");
    const instance = `Küche 1-7.${TYPE}`;
    const isOurs = ({ data, name }: Heard) => name === instance || data === instance;
    const heard = await ask(TYPE, "PTR", (all) => all.filter(isOurs).length >= 3, patient(3_000));
    const found = (type: string) => heard.find((record) => record.type === type && isOurs(record));
    expect(found("PTR")!.name).toBe(TYPE);
    expect(found("SRV")!.data).toMatchObject({ port: server.port, target: "k-che-1-7.local" });
    expect(heard.find(({ name, type }) => name === "k-che-1-7.local" && type === "A")!.data).toMatch(
      /^\d+(\.\d+){3}$/,
    );
    const listener = multicastDns();
    const gone: Heard[] = [];
    listener.on("warning", () => {});
    listener.on("response", ({ answers }) => gone.push(...(answers as Heard[]).filter(isOurs)));
    await new Promise<void>((resolve) => listener.once("ready", resolve));
    await server.stop();
    for (let i = 0; i < 100 && gone.length === 0; i++) await Bun.sleep(20);
    expect(gone.map(({ ttl }) => ttl)).toEqual([0, 0, 0]);
    await new Promise<void>((resolve) => listener.destroy(resolve));
    expect((await ask(instance, "SRV", () => false, WAIT_MS)).filter(isOurs)).toEqual([]);
  },
);

test("a name that the network cannot carry is refused", async () => {
  const { code, message } = await rejectionOf(serve("ü".repeat(32)));
  expect([code, message]).toEqual(["USAGE", `the name "${"ü".repeat(32)}" has not 1 to 63 bytes`]);
});
