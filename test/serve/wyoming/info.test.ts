// What the server lists: every voice once for each language, as Home Assistant needs it.

import { expect, test } from "bun:test";
import type { Service } from "../../../src/serve/service.ts";
import { Refusal } from "../../../src/serve/service.ts";
import type { ServedVoice } from "../../../src/serve/voices.ts";
import { Info } from "../../../src/serve/wyoming/_info.ts";
import { bundleOf } from "../../_support.ts";

interface Shown {
  tts: { voices: { name: string; languages: string[]; description: string }[] }[];
}

/** A service that speaks with the voices of a bundle, or with these. */
function infoOf(checkpoint: string, given?: ServedVoice[]) {
  const { manifest } = bundleOf(checkpoint);
  const speakers = Object.keys(manifest.prompt.speakers).map((name) => ({ name, kind: "speaker", made: "" }));
  const state = { voices: given ?? (speakers as ServedVoice[]), isOpen: true };
  const remade: string[] = [];
  const service = {
    get engine() {
      if (!state.isOpen) throw new Refusal("opening", "the model is being opened", 1);
      return { manifest };
    },
    voices: { list: () => [...(service.engine && state.voices)] },
  };
  const info = new Info(service as unknown as Service, (name) => remade.push(name));
  const voices = () => (info.describe() as Shown).tts[0].voices;
  return { info, voices, state, remade };
}

const cloned = (name: string, made: string): ServedVoice => ({ name, kind: "cloned", made });

test("every voice is listed per language, by its tag, and a dialect is named where it is spoken", () => {
  const { voices } = infoOf("tiny-custom");
  const all = voices();
  expect(all).toHaveLength(90);
  expect(all.filter(({ name }) => name.startsWith("vivian."))).toMatchObject(
    ["en", "de", "es", "zh", "ja", "fr", "ko", "ru", "it", "pt"].map((tag) => ({
      name: `vivian.${tag}`,
      description: "Vivian",
      languages: [tag],
      installed: true,
    })),
  );
  const shown = (name: string) => all.find((voice) => voice.name === name)!.description;
  expect([shown("eric.zh"), shown("eric.en"), shown("dylan.zh")]).toEqual([
    "Eric (Sichuan dialect)",
    "Eric",
    "Dylan (Beijing dialect)",
  ]);
  expect(shown("uncle_fu.zh")).toBe("Uncle Fu");
});

test("a voice of one language keeps its name", () => {
  expect(infoOf("starter").voices()).toMatchObject([{ name: "starter", languages: ["en"] }]);
});

test("there is always a voice: without any by name, and before the model was ever open", () => {
  expect(infoOf("tiny-design").voices()).toContainEqual(
    expect.objectContaining({ name: "default.de", description: "Default", languages: ["de"] }),
  );
  const { state, voices } = infoOf("tiny-base", []);
  expect(voices()).toHaveLength(10);
  const early = infoOf("starter");
  early.state.isOpen = false;
  expect(early.voices()).toMatchObject([
    { name: "default", languages: expect.arrayContaining(["en", "de"]) },
  ]);
  state.voices = [cloned("anna", "1")];
  expect(voices().map(({ name }) => name)).toContain("anna.de");
});

test("voices come and go by themselves, stay while a model is opened, and the user hears of one that was remade", () => {
  const { remade, state, voices } = infoOf("tiny-base", [cloned("anna", "1")]);
  expect(voices()).toHaveLength(10);
  state.voices = [cloned("anna", "1"), cloned("ben", "1")];
  expect(voices()).toHaveLength(20);
  state.isOpen = false;
  expect(voices()).toHaveLength(20);
  state.isOpen = true;
  state.voices = [cloned("ben", "1")];
  expect(voices().map(({ name }) => name)).not.toContain("anna.de");
  expect(remade).toEqual([]);
  state.voices = [cloned("anna", "2"), cloned("ben", "1")];
  voices();
  voices();
  expect(remade).toEqual(["anna"]);
});

test.each<[unknown, object]>([
  [undefined, {}],
  [null, {}],
  ["vivian", {}],
  [{}, {}],
  [{ name: "vivian.de" }, { voice: "vivian", language: "de" }],
  [{ name: "Vivian.zh-CN" }, { voice: "vivian", language: "zh-cn" }],
  [{ name: "vivian" }, { voice: "vivian" }],
  [{ name: "default.de" }, { language: "de" }],
  [{ name: "default" }, {}],
  [{ language: "de" }, { language: "de" }],
  [
    { name: "vivian.de", speaker: "ryan" },
    { voice: "ryan", language: "de" },
  ],
  [{ name: "nobody.de" }, { voice: "nobody.de" }],
  [{ name: 7 }, {}],
])("%j of a request is %j", (given, choice) => {
  const { info } = infoOf("tiny-custom");
  const { language, voice } = info.chosen(given);
  expect(JSON.parse(JSON.stringify({ language, voice }))).toEqual(choice);
});
