// The licences of the program and of all that it is made of, as one text. Run from source, they are collected
// from the packages; a binary carries the text that was collected when it was built. Reads files only.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { compiled, readLicences } from "../../ffi/load/embedded.ts";
import { dependencies, license, version } from "../../package.json";

/**
 * Decoders that no binary carries: some are under the GPL alone, which is not compatible with the licence of
 * the program, others need those, and all are for formats that hardly anybody records a voice in. The sources
 * have none for ape, either.
 */
export const NOT_COMPILED = [
  "aac",
  "ac3",
  "amr",
  "ape",
  "avi",
  "caf",
  "dsd",
  "dts",
  "eac3",
  "mod",
  "mp4",
  "mpc",
  "qoa",
  "tta",
  "wavpack",
  "webm",
  "wma",
].map((name) => `@audio/decode-${name}`);

/** Parts that are no package with a text of its own; their texts lie in licences/ here. */
const PUBLISHED: Record<string, string> = {
  "libllama and libggml (from @node-llama-cpp/linux-x64 and -arm64)": "llama.cpp.txt",
  "libonnxruntime (from onnxruntime-node)": "onnxruntime.txt",
  "Bun, the runtime inside of a binary": "bun.txt",
  "libFLAC, libogg and libvorbis (in @wasm-audio-decoders and libflacjs): BSD-3-Clause": "xiph.txt",
  "libopus (in libopus-wasm): BSD-3-Clause": "opus.txt",
  "LAME (in wasm-media-encoders): LGPL-2.0": "lame.txt",
  "libmpg123 (in mpg123-decoder): LGPL-2.1": "mpg123.txt",
  "GNU Library General Public License, version 2 (of LAME, and of JavaScriptCore in Bun)": "lgpl-2.txt",
  "GNU Lesser General Public License, version 2.1 (of libmpg123, and of TinyCC in Bun)": "lgpl-2.1.txt",
  "GNU General Public License, version 3 (the Lesser one of codec-parser adds to it)": "gpl-3.txt",
};
const ROOT = join(import.meta.dir, "../..");
const LICENCE_FILE = /^(licen[cs]e|copying|notice)/i;

interface Package {
  name: string;
  version: string;
  license: string;
  homepage?: string;
  author?: string | { name: string };
  repository?: string | { url: string };
  dependencies?: Record<string, string>;
}

/** Many thousand lines; the sources and a binary give the same bytes. */
export function licences(): string {
  if (compiled) return readLicences();
  const read = (...path: string[]) => readFileSync(join(ROOT, ...path), "utf8");
  return [
    `tts ${version} and what it is made of, with the licence of each part.\n\nIn a binary these are missing: ${NOT_COMPILED.join(", ")}.\n`,
    section(`tts ${version}: ${license}`, read("LICENSE")),
    section("The starter voice", read("models/starter/NOTICE")),
    ...Object.entries(PUBLISHED).map(([title, file]) => section(title, read("src/packaging/licences", file))),
    ...compiledPackages().map((found) =>
      section(`${found.name} ${found.version}: ${found.license}`, textOf(found)),
    ),
  ].join("\n");
}

const section = (title: string, text: string) =>
  `${"=".repeat(100)}\n${title}\n${"=".repeat(100)}\n\n${text.trim()}\n`;

/** Types are for the compiler alone. */
const isTypes = (name: string) => name.startsWith("@types/");

/** The packages that a binary needs to run, and those that they need, by name. */
function compiledPackages(): Package[] {
  const found = new Map<string, Package>();
  const names = Object.keys(dependencies);
  for (const name of names) {
    if (found.has(name) || NOT_COMPILED.includes(name) || isTypes(name)) continue;
    const manifest: Package = JSON.parse(
      readFileSync(join(ROOT, "node_modules", name, "package.json"), "utf8"),
    );
    found.set(name, manifest);
    names.push(...Object.keys(manifest.dependencies ?? {}));
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The licence files of a package; where it brings none, who made it and where its text is. */
function textOf({ author, homepage, license, name, repository }: Package): string {
  const folder = join(ROOT, "node_modules", name);
  const files = readdirSync(folder).filter((file) => LICENCE_FILE.test(file));
  if (files.length > 0)
    return files
      .sort()
      .map((file) => readFileSync(join(folder, file), "utf8").trim())
      .join("\n\n");
  const maker = typeof author === "string" ? author : author?.name;
  const place = homepage ?? (typeof repository === "string" ? repository : repository?.url);
  return `The package brings no text of its licence, ${license}. Made by ${maker ?? "its contributors"}; the text is at ${place ?? "its page in the npm registry"}.`;
}
