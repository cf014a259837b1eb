#!/bin/sh
# nats-server 2.9.10 (Debian 12) goes on counting what a purge with a filter took away. Deleting an object of
# the object store, or putting one again under its name, is such a purge, so a hub fills up without holding
# anything: when the count reaches the limit (max_file_store, else three quarters of the free disk), every
# stream refuses everything with "insufficient resources". Deleting the bucket does not help, a restart of the
# server does. Messages that expire, that are deleted one by one, or that a purge without a filter takes, are
# counted rightly. So let objects expire instead of deleting them. Later versions count rightly
# (nats-io/nats-server pull request 3876).
#
# Seen: nats-server 2.9.10, @nats-io/obj, jetstream and transport-node 3.4.0, node 20, 2026-11-29:
#   put and deleted 1 MB 9 times, then: insufficient resources
#   the bucket holds 0.0 MB, the server counts 10.0 MB of 10.0 MB
#   another stream: insufficient resources
#   bucket deleted: the server counts 10.0 MB
set -eu
PATH="$PATH:/usr/sbin"
command -v nats-server > /dev/null || { echo "needs nats-server: apt-get install nats-server"; exit 2; }
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid") 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund \
  @nats-io/transport-node@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/obj@3.4.0
echo 'jetstream { store_dir: store, max_file_store: 10000000 }' > conf
nats-server -c conf -a 127.0.0.1 -p -1 --ports_file_dir . > log 2>&1 &
echo $! > pid
until ls nats-server_*.ports > /dev/null 2>&1; do sleep 0.1; done
cat > try.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Objm } from "@nats-io/obj";

const LIMIT = 10_000_000;
const nc = await connect({ servers: process.argv[2] });
const manager = await jetstreamManager(nc);
const counted = async () => (await manager.getAccountInfo()).storage;
const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

await manager.streams.add({ name: "OTHER", subjects: ["other"] });
const bucket = await new Objm(nc).create("sounds");
let [times, refused] = [0, "nothing refused"];
for (; times < 20; times++) {
  try {
    await bucket.putBlob({ name: "sound" }, new Uint8Array(1_000_000));
    await bucket.delete("sound");
  } catch (error) {
    refused = error.message;
    break;
  }
}
console.log(`put and deleted 1 MB ${times} times, then: ${refused}`);
const { size } = await bucket.status();
const full = await counted();
console.log(`the bucket holds ${mb(size)}, the server counts ${mb(full)} of ${mb(LIMIT)}`);
const other = await jetstream(nc).publish("other", "x").then(() => "accepted", (error) => error.message);
console.log(`another stream: ${other}`);
await bucket.destroy();
const left = await counted();
console.log(`bucket deleted: the server counts ${mb(left)}`);
await nc.close();
process.exitCode = times < 20 && size < 1_000 && other !== "accepted" && left > LIMIT / 2 ? 0 : 1;
JS
node try.mjs "$(grep -o 'nats://[^"]*' nats-server_*.ports)"
