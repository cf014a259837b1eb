#!/bin/sh
# JetStream of nats-server 2.9.10 refuses a message as a duplicate although the first one is no longer there.
# An id stays taken for the duplicate window (two minutes unless stated), also when its message was
# acknowledged on a work queue, or purged. The publisher gets a plain acknowledgement with a sequence number
# and `duplicate: true`, no error, and nobody gets the message. So work that is put back under its old id
# within the window is lost without a word: give each attempt an id of its own, or look at `duplicate`.
# Reported for 2.11.1 too (nats-io/nats-server issue 6782).
#
# Seen: nats-server 2.9.10, @nats-io/jetstream and transport-node 3.4.0, node 20, 2026-11-29:
#   done and put back: acknowledged, sequence 1, duplicate true, messages in the queue 0
#   purged and put back: acknowledged, sequence 2, duplicate true, messages in the queue 0
#   with a new id: acknowledged, sequence 3, duplicate false, messages in the queue 1
set -eu
PATH="$PATH:/usr/sbin"
command -v nats-server > /dev/null || { echo "needs nats-server: apt-get install nats-server"; exit 2; }
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid") 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0
nats-server -js -a 127.0.0.1 -p -1 -sd store --ports_file_dir . > log 2>&1 &
echo $! > pid
until ls nats-server_*.ports > /dev/null 2>&1; do sleep 0.1; done
cat > try.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const nc = await connect({ servers: process.argv[2] });
const [js, manager] = [jetstream(nc), await jetstreamManager(nc)];
await manager.streams.add({ name: "WORK", subjects: ["work"], retention: "workqueue" });
await manager.consumers.add("WORK", { durable_name: "all", ack_policy: "explicit" });

async function putBack(what, id) {
  const { seq, duplicate } = await js.publish("work", "sentence 7", { msgID: id });
  const { messages } = (await manager.streams.info("WORK")).state;
  const answer = `acknowledged, sequence ${seq}, duplicate ${duplicate}`;
  console.log(`${what}: ${answer}, messages in the queue ${messages}`);
  return duplicate && messages === 0;
}

await js.publish("work", "sentence 7", { msgID: "done" });
await (await (await js.consumers.get("WORK", "all")).next()).ackAck();
const done = await putBack("done and put back", "done");
await js.publish("work", "sentence 7", { msgID: "purged" });
await manager.streams.purge("WORK");
const purged = await putBack("purged and put back", "purged");
const other = await putBack("with a new id", "another");
await nc.close();
process.exitCode = done && purged && !other ? 0 : 1;
JS
node try.mjs "$(grep -o 'nats://[^"]*' nats-server_*.ports)"
