#!/bin/sh
# nats-server 2.9 loses some of the requests for messages that consume() of the NATS client for npm sends when
# an earlier one has expired. The client has no error and no message; it asks again when it has missed two
# heartbeats, which with its defaults (expires 30 s, idle_heartbeat 15 s) takes 30 s. So a consumer that hears
# little is deaf for half a minute now and then, the oftener the more of them ask at the same moment. With
# requests that expire after hours it does not happen.
#
# Seen: @nats-io/transport-node and jetstream 3.4.0, nats-server 2.9.10, Bun 1.4.5 and node 20, 2026-11-29:
#   300 consumers, 60 messages to each; expires 1s: 3 times deaf until heartbeats were missed
#   300 consumers, 60 messages to each; expires 12h: 0 times deaf until heartbeats were missed
set -eu
PATH="$PATH:/usr/sbin"
command -v nats-server > /dev/null || { echo "needs nats-server: apt-get install nats-server"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0
cat > try.mjs <<'JS'
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const [CONSUMERS, MESSAGES] = [300, 60];
const probe = createServer().listen(0, "127.0.0.1");
await once(probe, "listening");
const { port } = probe.address();
probe.close();
await once(probe, "close");
const server = spawn("nats-server", ["-js", "-a", "127.0.0.1", "-p", `${port}`, "-sd", "store"], { stdio: "ignore" });
process.on("exit", () => server.kill());
const nc = await connect({ port, waitOnFirstConnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
const manager = await jetstreamManager(nc);
const streams = jetstream(nc);
await manager.streams.add({ name: "SAY", subjects: ["say.*"] });

async function deaf(title, expires) {
  const room = `say.${title}`;
  let [heard, count] = [0, 0];
  for (let i = 0; i < CONSUMERS; i++) {
    const name = `${title}-${i}`;
    const policies = { ack_policy: "explicit", deliver_policy: "new" };
    await manager.consumers.add("SAY", { durable_name: name, filter_subject: room, ...policies });
    const messages = await (await streams.consumers.get("SAY", name)).consume({
      max_messages: 8, expires, idle_heartbeat: 500,
    });
    (async () => {
      for await (const message of messages) {
        heard++;
        message.ack();
      }
    })();
    (async () => {
      for await (const { type } of messages.status()) if (type === "heartbeats_missed") count++;
    })();
    await sleep(3);
  }
  for (let i = 0; i < MESSAGES; i++) {
    await streams.publish(room, "hello");
    await sleep(397);
  }
  await sleep(4_000);
  const whole = heard === CONSUMERS * MESSAGES ? "" : `, only ${heard} were heard`;
  const words = `${CONSUMERS} consumers, ${MESSAGES} messages to each; expires ${title}`;
  console.log(`${words}: ${count} times deaf until heartbeats were missed${whole}`);
  return count;
}

const [often, seldom] = [await deaf("1s", 1_000), await deaf("12h", 12 * 3_600_000)];
process.exit(often > 0 && seldom === 0 ? 0 : 1);
JS
node try.mjs
