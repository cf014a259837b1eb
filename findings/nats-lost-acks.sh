#!/bin/sh
# The NATS client for npm drops acknowledgements and says nothing. One that is sent while the server is away
# does not wait for the reconnection: ack() returns, the client connects again, and the message comes a second
# time. ackAck() is the only one that tells, and only by its time limit. nc.drain() does not wait for the loop
# over consume(): it resolves while the first message is still in work, and every ack() after it goes nowhere,
# without an error. So a message may come again although it was acknowledged: remember what was done, end the
# loop before draining, and use ackAck() where it matters.
#
# Seen: @nats-io/transport-node and jetstream 3.4.0, nats-server 2.9.10, node 20, 2026-11-29:
#   acknowledged while the server was away: ack() returned, ackAck() gave TimeoutError
#   reconnected: 2 of 2 messages came again
#   drained after 0 of 5 messages, then 5 acknowledged without an error
#   another connection: 5 of 5 messages came again
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
import { connect, nanos } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const probe = createServer().listen(0, "127.0.0.1");
await once(probe, "listening");
const { port } = probe.address();
probe.close();
await once(probe, "close");
const options = ["-js", "-a", "127.0.0.1", "-p", `${port}`, "-sd", "store"];
const start = () => spawn("nats-server", options, { stdio: "ignore" });
const join = () => connect({
  port, waitOnFirstConnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 100,
});

let server = start();
process.on("exit", () => server.kill());
const nc = await join();
const manager = await jetstreamManager(nc);
await manager.streams.add({ name: "WORK", subjects: ["work"], retention: "workqueue" });
await manager.consumers.add("WORK", { durable_name: "all", ack_policy: "explicit", ack_wait: nanos(2_000) });
const consumer = await jetstream(nc).consumers.get("WORK", "all");
const fill = async (count) => {
  for (let i = 0; i < count; i++) await jetstream(nc).publish("work", `${i}`);
};
const comeAgain = async () => {
  let count = 0;
  for (; ; count++) {
    const message = await consumer.next({ expires: 3_000 });
    if (message === null) return count;
    await message.ackAck();
  }
};

await fill(2);
const [first, second] = [await consumer.next(), await consumer.next()];
server.kill();
await once(server, "exit");
first.ack();
const answer = second.ackAck({ timeout: 4_000 }).then((done) => done, (error) => error.name);
server = start();
console.log(`acknowledged while the server was away: ack() returned, ackAck() gave ${await answer}`);
const afterOutage = await comeAgain();
console.log(`reconnected: ${afterOutage} of 2 messages came again`);

await fill(5);
const other = await join();
const messages = await (await jetstream(other).consumers.get("WORK", "all")).consume();
let [done, doneWhenDrained] = [0, -1];
for await (const message of messages) {
  if (done === 0) {
    const drained = other.drain().then(() => {
      doneWhenDrained = done;
    });
    await Promise.race([drained, sleep(1_000)]);
  }
  message.ack();
  if (++done === 5) break;
}
console.log(`drained after ${doneWhenDrained} of 5 messages, then ${done} acknowledged without an error`);
const afterDrain = await comeAgain();
console.log(`another connection: ${afterDrain} of 5 messages came again`);
await nc.close();
const outage = (await answer) === "TimeoutError" && afterOutage === 2;
process.exit(outage && doneWhenDrained === 0 && afterDrain === 5 ? 0 : 1);
JS
node try.mjs
