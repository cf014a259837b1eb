// make install, uninstall and deb as a packager runs them, into folders that go away, with a stand-in for the
// compiled program.

import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../package.json";
import { ROOT } from "../_support.ts";
import { newFolder } from "../cli/_tts.ts";

const EXAMPLES = "share/doc/tts/examples";
const FILES = [
  "bin/tts",
  "share/bash-completion/completions/tts",
  "share/doc/tts/copyright",
  `${EXAMPLES}/crontab`,
  `${EXAMPLES}/nats-server.conf`,
  `${EXAMPLES}/tts-announce@.service`,
  `${EXAMPLES}/tts-join.service`,
  `${EXAMPLES}/tts-serve-wyoming.socket`,
  `${EXAMPLES}/tts-serve.service`,
  `${EXAMPLES}/tts-serve.socket`,
  `${EXAMPLES}/tts-sockets.service`,
  `${EXAMPLES}/tts-time.service`,
  `${EXAMPLES}/tts-time.timer`,
  "share/fish/vendor_completions.d/tts.fish",
  "share/man/man1/tts.1",
  "share/zsh/site-functions/_tts",
];
const noMake = Bun.which("make") === null ? " (skipped: make is not installed)" : "";

/** Prints its arguments. */
const PROGRAM = '#!/bin/sh\nprintf "[%s]" "$@"\n';
let binary = "";
beforeAll(() => {
  binary = join(newFolder(), "tts-stand-in");
  writeFileSync(binary, PROGRAM, { mode: 0o600 }); // its own permissions do not matter
});

/** Skips make setup: the packages are there, since the tests run on them. */
function make(target: string, variables: Record<string, string>, env: Record<string, string> = {}) {
  const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const command = ["make", "--no-print-directory", "-o", "node_modules/.ready", target, ...settings];
  const { exitCode, stderr, stdout } = Bun.spawnSync(command, {
    cwd: ROOT,
    env: { PATH: process.env.PATH!, ...env },
  });
  return { exitCode, said: `${stdout}${stderr}` };
}

const filesIn = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe.skipIf(noMake !== "")(`make install${noMake}`, () => {
  let destination = "";
  beforeAll(() => {
    destination = newFolder();
    expect(make("install", { DESTDIR: destination, PREFIX: "/opt/speech", BINARY: binary })).toEqual({
      exitCode: 0,
      said: "",
    });
  });
  const read = (path: string) => readFileSync(join(destination, "opt/speech", path), "utf8");

  test("puts exactly these files, for everybody to read", () => {
    expect(filesIn(destination)).toEqual(FILES.map((file) => `opt/speech/${file}`));
    const modes = FILES.map((file) => mode(join(destination, "opt/speech", file)));
    expect(modes).toEqual(FILES.map((file) => (file === "bin/tts" ? "755" : "644")));
    expect(read("bin/tts")).toBe(PROGRAM);
    expect(read("share/man/man1/tts.1")).toStartWith(".TH TTS 1 ");
    expect(read("share/zsh/site-functions/_tts")).toStartWith("#compdef tts\n");
    expect(read("share/bash-completion/completions/tts")).toContain("complete -F _tts tts\n");
    expect(read("share/fish/vendor_completions.d/tts.fish")).toContain("complete -c tts ");
  });

  test("the examples name the program where it will be, never where it lies now", () => {
    for (const file of FILES.filter((file) => file.startsWith(EXAMPLES))) {
      expect(read(file)).not.toContain("@BINDIR@");
      expect(read(file)).not.toContain(destination);
    }
    for (const name of [
      "crontab",
      "tts-announce@.service",
      "tts-serve.service",
      "tts-sockets.service",
      "tts-time.service",
    ])
      expect(read(`${EXAMPLES}/${name}`)).toContain("/opt/speech/bin/tts ");
  });

  test("where the date is given, the same source gives the same bytes", () => {
    const [a, b] = [newFolder(), newFolder()].map((folder) => {
      make(
        "install",
        { DESTDIR: folder, PREFIX: "/usr", BINARY: binary },
        { SOURCE_DATE_EPOCH: "1767225600" },
      );
      return filesIn(folder).map((file) => readFileSync(join(folder, file), "utf8"));
    });
    expect(a).toEqual(b);
    expect(a.find((text) => text.startsWith(".TH"))).toStartWith(".TH TTS 1 2026-01-01 ");
  });

  test("uninstall takes them out again, and nothing else", () => {
    const prefix = newFolder();
    mkdirSync(join(prefix, "bin"), { recursive: true });
    mkdirSync(join(prefix, "share/man/man1"), { recursive: true });
    for (const file of ["bin/other", "share/man/man1/other.1"]) writeFileSync(join(prefix, file), "");
    const variables = { PREFIX: prefix, BINARY: binary };
    expect(make("install", variables).exitCode).toBe(0);
    expect(make("install", variables).exitCode).toBe(0); // over what is there
    expect(filesIn(prefix)).toEqual(["bin/other", "share/man/man1/other.1", ...FILES].toSorted());
    expect(make("uninstall", variables)).toEqual({ exitCode: 0, said: "" });
    expect(filesIn(prefix)).toEqual(["bin/other", "share/man/man1/other.1"]);
    expect(existsSync(join(prefix, "share/doc/tts"))).toBe(false);
    expect(make("uninstall", variables).exitCode).toBe(0); // there is nothing to do
  });

  test("a user's own file in the folder of the program's documents stays", () => {
    const prefix = newFolder();
    make("install", { PREFIX: prefix, BINARY: binary });
    writeFileSync(join(prefix, EXAMPLES, "mine"), "");
    expect(make("uninstall", { PREFIX: prefix })).toEqual({ exitCode: 0, said: "" });
    expect(filesIn(prefix)).toEqual([`${EXAMPLES}/mine`]);
  });

  test.each([
    ["relative/path", "must be an absolute path"],
    ["/opt/with space", "must be an absolute path"],
  ])("a PREFIX of %s is refused before anything is written", (PREFIX, reason) => {
    const folder = newFolder();
    const { exitCode, said } = make("install", { DESTDIR: folder, PREFIX, BINARY: binary });
    expect([exitCode, said]).toEqual([2, expect.stringContaining(reason)]);
    expect(filesIn(folder)).toEqual([]);
  });

  test("a file that cannot be made ends the installation, and leaves no half file", () => {
    const folder = newFolder();
    const { exitCode } = make("install", { DESTDIR: folder, PREFIX: "/usr", BINARY: binary, BUN: "false" });
    expect(exitCode).toBe(2);
    expect(filesIn(folder)).toEqual(["usr/bin/tts"]);
  });

  const noDpkg = Bun.which("dpkg-deb") === null ? " (skipped: dpkg-deb is not installed)" : "";
  test.skipIf(noDpkg !== "").each([
    ["x64", "amd64"],
    ["arm64", "arm64"],
  ])(`deb packages the same files for %s${noDpkg}`, (ARCH, architecture) => {
    const DIST = newFolder();
    expect(make("deb", { BINARY: binary, ARCH, DIST }).exitCode).toBe(0);
    const [file] = readdirSync(DIST);
    expect(file).toBe(`tts_${version}_${architecture}.deb`);
    const dpkg = (...args: string[]) => Bun.spawnSync(["dpkg-deb", ...args]).stdout.toString();
    expect(dpkg("--field", join(DIST, file), "Architecture", "Version")).toBe(
      `Architecture: ${architecture}\nVersion: ${version}\n`,
    );
    // nothing of this machine
    expect(dpkg("--field", join(DIST, file), "Maintainer")).toBe("local build <root@localhost>\n");
    const listed = dpkg("--contents", join(DIST, file)).split("\n");
    const packed = listed.flatMap((line) =>
      line.startsWith("-") ? [line.replace(/^.* \.\/usr\//, "")] : [],
    );
    const systems = {
      "share/man/man1/tts.1": "share/man/man1/tts.1.gz",
      "share/zsh/site-functions/_tts": "share/zsh/vendor-completions/_tts",
    };
    expect(packed.toSorted()).toEqual(
      FILES.map((name) => systems[name as keyof typeof systems] ?? name).toSorted(),
    );
    expect(listed.every((line) => line === "" || line.includes(" root/root "))).toBe(true);
  });

  const noSystemd =
    Bun.which("systemd-analyze") === null ? " (skipped: systemd-analyze is not installed)" : "";
  test.skipIf(noSystemd !== "")(`systemd accepts the units${noSystemd}`, () => {
    const prefix = newFolder();
    make("install", { PREFIX: prefix, BINARY: binary });
    const units = readdirSync(join(prefix, EXAMPLES)).filter((name) =>
      /\.(service|socket|timer)$/.test(name),
    );
    const folder = newFolder();
    for (const unit of units) {
      // man(1) may be missing here, which is no fault of the units
      const text = readFileSync(join(prefix, EXAMPLES, unit), "utf8").replace(/^Documentation=.*\n/m, "");
      writeFileSync(join(folder, unit), text);
    }
    const { exitCode, stderr } = Bun.spawnSync([
      "systemd-analyze",
      "verify",
      ...units.map((unit) => join(folder, unit)),
    ]);
    expect([units.length, exitCode, stderr.toString()]).toEqual([8, 0, ""]);
  });

  test("the lines of the crontab say what they should, as cron runs them", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, "tts"), PROGRAM, { mode: 0o755 });
    const lines = read(`${EXAMPLES}/crontab`).split("\n");
    expect(lines).toContain("PATH=/usr/bin:/bin");
    const jobs = lines.filter((line) => /^[\d*]/.test(line));
    const said = jobs.map((line) => {
      const command = line.replace(/^(\S+\s+){5}/, "");
      expect(command.replaceAll("\\%", "")).not.toContain("%"); // cron's end of the command
      const program = command.replaceAll("\\%", "%").replaceAll("/opt/speech/bin/", `${folder}/`);
      return Bun.spawnSync(["/bin/sh", "-c", program], {
        env: { PATH: `${folder}:/usr/bin:/bin` },
        cwd: "/",
      }).stdout.toString();
    });
    expect(said).toEqual([
      "[announce][Good morning. It is {time}.][--by][07:00][--chime]",
      "[announce][It is {time}.][--quiet-hours][22:00-08:00]",
      "[announce][Dinner is ready.]",
    ]);
  });
});
