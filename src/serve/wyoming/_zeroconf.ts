// Tells the local network where the Wyoming server is (multicast DNS), so that Home Assistant offers it by
// itself. What is told lasts as long as the server.

import { hostname, networkInterfaces } from "node:os";
import type { Answer } from "dns-packet";
import { TtsError } from "../../errors.ts";
import type { Tell } from "../../types.ts";

const TYPE = "_wyoming._tcp.local";
/** What browsers ask for to learn which types there are. */
const TYPES = "_services._dns-sd._udp.local";
const MOST_NAME_BYTES = 63;
/** Seconds. The names of machines may change, that of a service hardly. */
const [HOST_TTL, SERVICE_TTL] = [120, 4_500];
/** A single packet gets lost easily. */
const AGAIN_MS = 1_000;
/** Networks of containers and virtual machines, which nobody outside can reach. */
const INNER = /^(docker|br-|veth|virbr|lxc|podman|cni)/;

export interface Announced {
  /** Withdraws it. */
  stop(): Promise<void>;
}

export const usualName = () => `Qwen3-TTS on ${hostname().split(".")[0]}`;

/**
 * @param name Home Assistant takes another name for another server
 * @param host the address that the server listens on
 * @throws TtsError USAGE for a name that is too long
 */
export async function announce(name: string, host: string, port: number, tell: Tell): Promise<Announced> {
  const instance = name.replaceAll(".", "-");
  if (Buffer.byteLength(instance) > MOST_NAME_BYTES || instance === "")
    throw new TtsError("USAGE", `the name ${JSON.stringify(name)} has not 1 to ${MOST_NAME_BYTES} bytes`);
  const { default: multicastDns } = await import("multicast-dns");
  const responder = multicastDns();
  const trouble = (error: Error) =>
    tell.warn(`the local network is not told of the server: ${error.message}`);
  responder.on("error", trouble);
  responder.on("warning", (error) => tell.debug(`multicast DNS: ${error.message}`));
  responder.on("query", ({ questions }) => {
    const records = recordsOf(instance, host, port);
    const answers = records.filter((record) => questions.some((question) => asksFor(question, record)));
    if (answers.length === 0) return;
    responder.respond({ answers, additionals: records.filter((record) => !answers.includes(record)) });
  });
  const say = () => responder.respond(recordsOf(instance, host, port));
  say();
  const again = setTimeout(say, AGAIN_MS);
  return {
    async stop() {
      clearTimeout(again);
      const gone = recordsOf(instance, host, port).map((record) => ({ ...record, ttl: 0 }));
      await new Promise<void>((resolve) => responder.respond(gone, () => resolve()));
      await new Promise<void>((resolve) => responder.destroy(resolve));
    },
  };
}

function recordsOf(instance: string, host: string, port: number): Answer[] {
  const service = `${instance}.${TYPE}`;
  // a name of its own: that of the machine belongs to its own responder
  const target = `${instance.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.local`;
  return [
    { name: TYPE, type: "PTR", ttl: SERVICE_TTL, data: service },
    { name: service, type: "SRV", ttl: HOST_TTL, flush: true, data: { target, port } },
    { name: service, type: "TXT", ttl: SERVICE_TTL, flush: true, data: [] },
    ...addressesOf(host).map(
      (data): Answer => ({ name: target, type: "A", ttl: HOST_TTL, flush: true, data }),
    ),
    { name: TYPES, type: "PTR", ttl: SERVICE_TTL, data: TYPE },
  ];
}

/** Those of IPv4, by which Home Assistant connects. */
function addressesOf(host: string): string[] {
  const isAny = host === "0.0.0.0" || host === "::";
  if (!isAny) return [host];
  return Object.entries(networkInterfaces())
    .filter(([name]) => !INNER.test(name))
    .flatMap(([, addresses]) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .map(({ address }) => address);
}

const asksFor = ({ name, type }: { name: string; type: string }, record: Answer) =>
  name.toLowerCase() === record.name.toLowerCase() && (type === "ANY" || type === record.type);
