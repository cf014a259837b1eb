// The real players of the table, as far as they are installed: into a file through ALSA, and into the null
// sinks of a PulseAudio and a PipeWire that are started for it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { patient } from "../../_support.ts";
import { newFolder, shell } from "../_tts.ts";

const ALSA = "/usr/share/alsa/alsa.conf";
const SAY = '$TTS -m "$STARTER" "Dinner is ready." --greedy --seed 1 --quiet';
const missing = (...programs: string[]) => programs.filter((program) => Bun.which(program) === null);
const reason = (what: readonly string[]) =>
  what.length === 0 ? "" : ` (skipped: no ${what.join(", ")} here)`;

/** A configuration of ALSA in which `name` writes what it plays into a file. */
function alsaInto(file: string, name: string): string {
  const path = join(newFolder(), "asoundrc");
  const into = `{ type file slave.pcm { type null } file "${file}" format raw }`;
  writeFileSync(path, `pcm.${name} { type plug slave.pcm ${into} }\n`);
  return `ALSA_CONFIG_PATH=${ALSA}:${path}`;
}

const noAlsa = existsSync(ALSA) ? [] : [ALSA];
for (const [player, device, isExact] of [
  ["aplay", "", true],
  ["aplay", "other", true],
  ["play", "other", true],
  ["mpv", "alsa/other", true],
  ["ffplay", "other", false], // it plays silence behind the sound
] as const) {
  const lacking = [...noAlsa, ...missing(player)];
  test.skipIf(lacking.length > 0)(
    `${player} plays to ${device || "its own device"}${reason(lacking)}`,
    async () => {
      const folder = newFolder();
      const variables = alsaInto(join(folder, "heard"), device.split("/").at(-1) || "!default");
      const args = device === "" ? "" : `--device ${device}`;
      const { status, stderr } = await shell(
        `${SAY} -o x.pcm --trim-start --loudness -16 && ${variables} ${SAY} --play --player ${player} ${args}`,
        folder,
      );
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      const [heard, said] = ["heard", "x.pcm"].map((name) => readFileSync(join(folder, name)));
      const expected = Buffer.concat([Buffer.alloc(2 * 4_800), said]);
      if (isExact) expect(heard.subarray(0, expected.length).equals(expected)).toBe(true);
      else expect(heard.length).toBeGreaterThan(expected.length);
    },
  );

  test.skipIf(lacking.length > 0)(`${player} says that a device is not there${reason(lacking)}`, async () => {
    const { status, stderr } = await shell(
      `${SAY} --play --player ${player} --device alsa/no-such`,
      newFolder(),
    );
    expect(stderr).toMatch(
      new RegExp(
        `^tts: the player ${player} (failed \\(status [1-9]\\d*\\)|cannot play): [^\\n]+; choose another`,
      ),
    );
    expect(status).toBe(5);
  });
}

const noPipeWire = missing("pw-play", "pipewire", "wireplumber", "wpctl", "dbus-run-session");
test.skipIf(noPipeWire.length > 0)(
  `with a PipeWire, pw-play is the default${reason(noPipeWire)}`,
  async () => {
    const folder = newFolder();
    mkdirSync(join(folder, "run"), { mode: 0o700 });
    const sink =
      "{ factory.name=support.null-audio-sink node.name=quiet media.class=Audio/Sink object.linger=true }";
    writeFileSync(
      join(folder, "session"),
      `pipewire > /dev/null 2>&1 & first=$!; until [ -S run/pipewire-0 ]; do sleep 0.05; done
     wireplumber > /dev/null 2>&1 & second=$!; pw-cli create-node adapter '${sink}' > /dev/null
     for i in $(seq 200); do wpctl status | grep -q 'quiet' && break; sleep 0.05; done
     ${SAY.replace("--quiet", "--verbose")} --play --device quiet; status=$?; kill $first $second; exit $status`,
    );
    const before = performance.now();
    const { status, stderr } = await shell(
      `export TTS; HOME=$PWD XDG_RUNTIME_DIR=$PWD/run dbus-run-session -- bash session`,
      folder,
    );
    expect(stderr).toMatch(/^player: \S+pw-play .* --target quiet -$/m);
    expect(status).toBe(0);
    expect(performance.now() - before).toBeGreaterThan(1_300);
  },
);

const noPulse = missing("pulseaudio", "pactl");
describe.skipIf(noPulse.length > 0)(`with a PulseAudio${reason(noPulse)}`, () => {
  const folder = newFolder();
  const home = `HOME=${folder} XDG_RUNTIME_DIR=${folder}/run`;
  let server: ChildProcess;
  beforeAll(async () => {
    mkdirSync(join(folder, "run/pulse"), { recursive: true, mode: 0o700 });
    const socket = join(folder, "run/pulse/native");
    const args = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm"];
    const modules = [
      "module-null-sink sink_name=quiet rate=24000",
      `module-native-protocol-unix socket=${socket}`,
    ];
    server = spawn("pulseaudio", [...args, ...modules.flatMap((module) => ["-L", module])], {
      env: { PATH: process.env.PATH, HOME: folder, XDG_RUNTIME_DIR: join(folder, "run") },
      stdio: "ignore",
    });
    for (let i = 0; i < 500 && !existsSync(socket); i++) await Bun.sleep(10);
  });
  afterAll(() => void server.kill("SIGKILL"));

  const cases = [
    ["paplay", "quiet"],
    ["mpv", "pulse/quiet"],
    ["ffplay", ""],
  ] as const;
  for (const [player, device] of cases)
    test.skipIf(missing(player).length > 0)(
      `${player} plays in real time${reason(missing(player))}`,
      async () => {
        const args = device === "" ? "" : `--device ${device}`;
        const before = performance.now();
        const { status, stderr } = await shell(`${home} ${SAY} --play --player ${player} ${args}`, folder);
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
        expect(performance.now() - before).toBeGreaterThan(1_300);
      },
    );

  test.skipIf(missing("paplay").length > 0)(
    `a stream ends with Ctrl-C${reason(missing("paplay"))}`,
    async () => {
      const streams = `[ "$(${home} pactl list short sink-inputs | wc -l)" = `;
      const { status } = await shell(
        `set -m; ${home} $TTS -m "$STARTER" "$(yes 'Dinner is ready.' | head -30)" --quiet --play --player paplay &
       for i in $(seq 200); do ${streams} 1 ] && break; sleep 0.05; done; ${streams} 1 ] || exit 90
       kill -INT $!; wait $!; status=$?; for i in $(seq 20); do ${streams} 0 ] && exit $status; sleep 0.02; done; exit 91`,
        folder,
      );
      expect(status).toBe(130);
    },
    patient(30_000),
  );
});
