#!/bin/sh
# Shared subscriptions of Mosquitto 2.0.11 are no work queue. Half of the messages for a group of two go to
# the member that is away, as long as its session lives, although the other is there and idle; they wait until
# it returns. And each member that subscribes gets the retained message, although by MQTT 5 (section 4.8.2) a
# new member of a group gets none: a retained order is carried out once by every member. Let the members'
# sessions end with their connections, and leave out what has the retain flag.
#
# Seen: mosquitto 2.0.11, mqtt 5.16.0 from npm, node 20, 2026-11-29:
#   10 messages for two members, one of them away: 5 to the one who is there, 5 wait for the other
#   1 retained message for a group of 3: 3 members got it
#   session that ends with the connection: 10 of 10 messages to the one who is there
set -eu
PATH="$PATH:/usr/sbin"
command -v mosquitto > /dev/null || { echo "needs mosquitto: apt-get install mosquitto"; exit 2; }
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid") 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm init -y > /dev/null
npm install --silent --no-audit --no-fund mqtt@5.16.0
cat > port.mjs <<'JS'
import { createServer } from "node:net";

const probe = createServer().listen(0, "127.0.0.1", () => {
  console.log(probe.address().port);
  probe.close();
});
JS
port=$(node port.mjs)
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$port" > conf
mosquitto -c conf > log 2>&1 &
echo $! > pid
cat > try.mjs <<'JS'
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import mqtt from "mqtt";

const url = `mqtt://127.0.0.1:${process.argv[2]}`;

/** A member of the group; what it gets is counted from its first moment on. */
async function member(clientId, topic, sessionS) {
  const client = mqtt.connect(url, {
    protocolVersion: 5, clientId, clean: sessionS === 0, reconnectPeriod: 100,
    properties: { sessionExpiryInterval: sessionS },
  });
  const got = [];
  client.on("message", (_, payload) => got.push(String(payload)));
  await once(client, "connect");
  if (topic !== null) await client.subscribeAsync(`$share/group/${topic}`, { qos: 1 });
  return { client, got };
}

const { client: sender } = await member("sender", null, 0);

/** What reaches the member that is there, and the one that was away once it is back. */
async function oneAway(topic, sessionS) {
  const here = await member(`here ${topic}`, topic, sessionS);
  const away = await member(`away ${topic}`, topic, sessionS);
  await away.client.endAsync();
  for (let i = 0; i < 10; i++) await sender.publishAsync(topic, `${i}`, { qos: 1 });
  await sleep(500);
  const count = here.got.length;
  const back = await member(`away ${topic}`, null, sessionS);
  await sleep(500);
  for (const { client } of [here, back]) await client.endAsync();
  return [count, back.got.length];
}

const [here, waited] = await oneAway("work", 600);
const split = `${here} to the one who is there, ${waited} wait for the other`;
console.log(`10 messages for two members, one of them away: ${split}`);
await sender.publishAsync("order", "open the door", { qos: 1, retain: true });
const members = [await member("a", "order", 0), await member("b", "order", 0), await member("c", "order", 0)];
await sleep(500);
const told = members.filter(({ got }) => got.length > 0).length;
console.log(`1 retained message for a group of ${members.length}: ${told} members got it`);
const [all] = await oneAway("session", 0);
console.log(`session that ends with the connection: ${all} of 10 messages to the one who is there`);
for (const { client } of [...members, { client: sender }]) await client.endAsync();
process.exitCode = here === 5 && waited === 5 && told === 3 && all === 10 ? 0 : 1;
JS
node try.mjs "$port"
