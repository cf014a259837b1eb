#!/bin/sh
# The object store of the NATS client for npm keeps what nobody can reach when two programs put the same name
# at the same time. Each put purges the chunks of the object that it saw when it began; the one that ends last
# wins, and the others' chunks stay under ids that no object names. delete() does not take them away either.
# They count as the bucket's size, so a bucket with a limit fills up and then refuses new objects. With
# content that many may make at once, look whether it is there first, and give the bucket a time to live.
#
# Seen: @nats-io/obj 3.4.0, transport-node 3.4.0, nats-server 2.9.10, node 20, 2026-11-29:
#   an object of 300 kB, put by 4 at once: objects 1, 1201 kB in the bucket
#   deleted: objects 0, 901 kB in the bucket
set -eu
PATH="$PATH:/usr/sbin"
command -v nats-server > /dev/null || { echo "needs nats-server: apt-get install nats-server"; exit 2; }
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid") 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund @nats-io/transport-node@3.4.0 @nats-io/obj@3.4.0
nats-server -js -a 127.0.0.1 -p -1 -sd store --ports_file_dir . > log 2>&1 &
echo $! > pid
until ls nats-server_*.ports > /dev/null 2>&1; do sleep 0.1; done
cat > try.mjs <<'JS'
import { connect } from "@nats-io/transport-node";
import { Objm } from "@nats-io/obj";

const [LENGTH, PROGRAMS] = [300_000, 4];
const joined = Array.from({ length: PROGRAMS }, () => connect({ servers: process.argv[2] }));
const programs = await Promise.all(joined);
await new Objm(programs[0]).create("sounds");
const buckets = await Promise.all(programs.map((program) => new Objm(program).open("sounds")));
await Promise.all(buckets.map((bucket) => bucket.putBlob({ name: "sound" }, new Uint8Array(LENGTH))));
const seen = async () => {
  const objects = (await buckets[0].list()).length;
  const { size } = await buckets[0].status();
  return { size, text: `objects ${objects}, ${Math.round(size / 1e3)} kB in the bucket` };
};
const put = await seen();
console.log(`an object of ${LENGTH / 1e3} kB, put by ${PROGRAMS} at once: ${put.text}`);
await buckets[0].delete("sound");
const deleted = await seen();
console.log(`deleted: ${deleted.text}`);
await Promise.all(programs.map((program) => program.close()));
process.exitCode = put.size > 2 * LENGTH && deleted.size > LENGTH ? 0 : 1;
JS
node try.mjs "$(grep -o 'nats://[^"]*' nats-server_*.ports)"
