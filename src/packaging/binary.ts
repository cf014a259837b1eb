// Builds the program as one executable file for each platform: bun src/packaging/binary.ts FOLDER
// [PLATFORM...]. The same sources and lockfile give the same bytes on any machine. Changes nothing outside of
// FOLDER and .bun.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, relative, resolve } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import {
  archiveFile,
  type Contents,
  EMBEDDED_FOLDER,
  INDEX_FILE,
  LICENCES_FILE,
  type Part,
} from "../../ffi/load/embedded.ts";
import { identify } from "../../ffi/load/unpack.ts";
import { isPacked, PACKED_SUFFIX } from "../formats/checkpoint-files.ts";
import { Draft, renameIntoPlace } from "../io/atomic.ts";
import { licences, NOT_COMPILED } from "./licences.ts";

const ROOT = resolve(import.meta.dir, "../..");
/** Level of zstd. The highest one makes the binary another 2 % smaller and takes forty times as long. */
const COMPRESSION = 9;
/** This file of the voice stays packed on the user's disk: 2 MB instead of 45. */
const MOSTLY_ZEROS = "speech_tokenizer/model.safetensors";

/** What Bun calls a platform, and its package with the runtime. */
const PLATFORMS: Record<string, { arch: string; target: string; runtime: string }> = {
  "linux-x64": { arch: "x64", target: "bun-linux-x64", runtime: "@oven/bun-linux-x64" },
  "linux-arm64": { arch: "arm64", target: "bun-linux-arm64", runtime: "@oven/bun-linux-aarch64" },
};

/** Files of libllama that this program needs; GPU code and bindings of Node stay out. */
const LLAMA_FILES = /^lib(llama|ggml|ggml-base|ggml-cpu-[\w.]+?)(\.v[\d.]+)?\.so$/;

const pinned = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).devDependencies.bun;
if (Bun.version !== pinned)
  fail(`this is Bun ${Bun.version}, but binaries are made with ${pinned}: run make binary`);
const [folder = "dist", ...wanted] = process.argv.slice(2);
for (const platform of wanted.length > 0 ? wanted : Object.keys(PLATFORMS)) build(platform, resolve(folder));

function build(platform: string, folder: string): void {
  const { arch, runtime, target } =
    PLATFORMS[platform] ?? fail(`there is no platform ${platform}: choose ${Object.keys(PLATFORMS)}`);
  mkdirSync(folder, { recursive: true });
  const stage = mkdtempSync(join(folder, ".building-"));
  try {
    const embedded = join(stage, EMBEDDED_FOLDER);
    mkdirSync(embedded);
    const index: Record<Part, Contents> = {
      lib: pack("lib", libraries(platform, arch), embedded),
      starter: pack("starter", voice(), embedded),
    };
    writeFileSync(join(embedded, INDEX_FILE), JSON.stringify(index));
    writeFileSync(join(embedded, LICENCES_FILE), compressed(Buffer.from(licences())));
    const name = `tts-${platform}`; // it goes into the binary, so it is the same wherever that is built
    const executable = arch === process.arch ? process.execPath : join(packageFolder(runtime), "bin/bun");
    run([
      ...[
        process.execPath,
        "build",
        "--compile",
        `--target=${target}`,
        `--compile-executable-path=${executable}`,
      ],
      ...[
        "--minify",
        "--bytecode",
        "--format=esm",
        "--no-compile-autoload-dotenv",
        "--no-compile-autoload-bunfig",
        // libflacjs would look for files in the folder where it lay when it was built, but it needs none
        '--define=__dirname="/"',
      ],
      ...NOT_COMPILED.flatMap((missing) => ["--external", missing]),
      ...["--asset", embedded, join(ROOT, "tts.ts"), `--outfile=${join(stage, name)}`],
    ]);
    renameIntoPlace(join(stage, name), join(folder, name));
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
  const size = Bun.file(join(folder, `tts-${platform}`)).size;
  console.info(`${relative(process.cwd(), join(folder, `tts-${platform}`))}: ${(size / 1e6).toFixed(1)} MB`);
}

/** name -> path */
type Files = Record<string, string>;

function libraries(platform: string, arch: string): Files {
  const llama = join(packageFolder(`@node-llama-cpp/${platform}`), "bins", platform);
  const runtime = join(packageFolder("onnxruntime-node"), "bin/napi-v6/linux", arch);
  const names = readdirSync(llama).filter((name) => LLAMA_FILES.test(name));
  return {
    ...Object.fromEntries(names.map((name) => [name, join(llama, name)])),
    "libonnxruntime.so.1": join(runtime, "libonnxruntime.so.1"),
  };
}

function voice(): Files {
  const folder = join(ROOT, "models/starter");
  const names = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return Object.fromEntries(
    names.map(({ name, parentPath }) => {
      const path = join(parentPath, name);
      const place = relative(folder, path);
      return [place === MOSTLY_ZEROS ? place + PACKED_SUFFIX : place, path];
    }),
  );
}

function compressed(bytes: Uint8Array): Uint8Array {
  const { ZSTD_c_checksumFlag: sum, ZSTD_c_compressionLevel: level } = constants;
  // the checksum shows damage where it is unpacked
  return zstdCompressSync(bytes, { params: { [level]: COMPRESSION, [sum]: 1 } });
}

/** Writes one archive. In the order of their names similar files stand together, which makes it smaller. */
function pack(part: Part, sources: Files, target: string): Contents {
  const names = Object.keys(sources).sort();
  const data = names.map((name) =>
    isPacked(name) ? compressed(readFileSync(sources[name])) : readFileSync(sources[name]),
  );
  const files = names.map((name, i): Contents["files"][number] => [name, data[i].length]);
  const bytes = Buffer.concat(data);
  writeFileSync(join(target, archiveFile(part)), compressed(bytes));
  return { id: identify(files, bytes), files };
}

/**
 * The folder of a package of the lockfile. A package for another platform is fetched once, and refused unless
 * it is the one in the lockfile.
 */
function packageFolder(name: string): string {
  const installed = join(ROOT, "node_modules", name);
  if (existsSync(installed)) return installed;
  const folder = join(ROOT, ".bun/platforms", name);
  const found = join(folder, "node_modules", name);
  if (existsSync(found)) return found;
  const line = readFileSync(join(ROOT, "bun.lock"), "utf8")
    .split("\n")
    .find((entry) => entry.trim().startsWith(`"${name}": [`));
  const [, version] = /^\s*"[^"]+": \["[^"]+@([^"@]+)"/.exec(line ?? "") ?? fail(`bun.lock has no ${name}`);
  const draft = new Draft(folder);
  const part = draft.path;
  mkdirSync(part, { recursive: true });
  const manifest = { name: "platform", dependencies: { [name]: version } };
  writeFileSync(join(part, "package.json"), JSON.stringify(manifest));
  const workspaces = JSON.stringify({ "": manifest });
  writeFileSync(
    join(part, "bun.lock"),
    `{"lockfileVersion": 2, "configVersion": 1, "workspaces": ${workspaces}, "packages": {${line}}}`,
  );
  // a cache of its own: only what comes from the network is compared with the lockfile
  const cache = join(part, "cache");
  const cpu = /arm64|aarch64/.test(name) ? "arm64" : "x64";
  run(
    [process.execPath, "install", "--frozen-lockfile", "--os=linux", `--cpu=${cpu}`, `--cache-dir=${cache}`],
    part,
  );
  rmSync(cache, { recursive: true });
  draft.replaceFolder();
  return found;
}

function run(command: string[], cwd = ROOT): void {
  const { exitCode, stderr, stdout } = Bun.spawnSync(command, { cwd, stdout: "pipe", stderr: "pipe" });
  if (exitCode !== 0) fail(`${command.slice(0, 2).join(" ")} failed:\n${stdout}${stderr}`);
}

function fail(message: string): never {
  console.error(`binary: ${message}`);
  process.exit(1);
}
