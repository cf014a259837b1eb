#!/bin/sh
# The NATS client's object store takes `ttl` out of the options that it is given: whoever makes a second
# bucket from the same options gets one that keeps everything for ever. The unit is nanoseconds, while its
# key-value store, which is created in the same way, takes milliseconds. A week in milliseconds is accepted
# and lasts 0.6 s; the object is acknowledged and then gone. So give each bucket its own options, write
# nanos(milliseconds), and check status().ttl.
#
# Seen: @nats-io/obj, kv and transport-node 3.4.0, nats-server 2.9.10, node 20, 2026-11-29:
#   two buckets from the same options: 604800 s, 0 s (for ever)
#   ttl of a week in milliseconds: key-value store 604800 s, object store 0.6048 s
#   1.5 s after put: key-value store "sound", object store null
set -eu
PATH="$PATH:/usr/sbin"
command -v nats-server > /dev/null || { echo "needs nats-server: apt-get install nats-server"; exit 2; }
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid") 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund \
  @nats-io/transport-node@3.4.0 @nats-io/obj@3.4.0 @nats-io/kv@3.4.0
nats-server -js -a 127.0.0.1 -p -1 -sd store --ports_file_dir . > log 2>&1 &
echo $! > pid
until ls nats-server_*.ports > /dev/null 2>&1; do sleep 0.1; done
cat > try.mjs <<'JS'
import { setTimeout as sleep } from "node:timers/promises";
import { connect, nanos } from "@nats-io/transport-node";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";

const WEEK_MS = 7 * 86_400_000;
const nc = await connect({ servers: process.argv[2] });
const [objects, keys] = [new Objm(nc), new Kvm(nc)];
const seconds = async (bucket) => (await bucket.status()).ttl / 1e9;

const options = { ttl: nanos(WEEK_MS) };
const first = await seconds(await objects.create("first", options));
const second = await seconds(await objects.create("second", options));
console.log(`two buckets from the same options: ${first} s, ${second} s${second === 0 ? " (for ever)" : ""}`);

const kept = await keys.create("kept", { ttl: WEEK_MS });
const short = await objects.create("short", { ttl: WEEK_MS });
const [keptS, shortS] = [(await kept.status()).ttl / 1e3, await seconds(short)];
console.log(`ttl of a week in milliseconds: key-value store ${keptS} s, object store ${shortS} s`);
await kept.put("name", "sound");
await short.putBlob({ name: "name" }, Buffer.from("sound"));
await sleep(1_500);
const [value, object] = [(await kept.get("name"))?.string(), await short.info("name")];
const shown = [value, object].map((one) => JSON.stringify(one));
console.log(`1.5 s after put: key-value store ${shown[0]}, object store ${shown[1]}`);
await nc.close();
process.exitCode = first === WEEK_MS / 1e3 && second === 0 && value === "sound" && object === null ? 0 : 1;
JS
node try.mjs "$(grep -o 'nats://[^"]*' nats-server_*.ports)"
