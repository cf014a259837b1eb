// What the server says of itself: one program, and its voices. Home Assistant never sends the language that
// its user chose, so every voice is listed once for each language, under a name of its own such as
// `vivian.de`.

import { version } from "../../../package.json";
import type { ModelFacts } from "../../engine.ts";
import type { Service } from "../service.ts";
import { isObject } from "./_events.ts";

/** Together with the instance name this is what Home Assistant knows the server by. */
const PROGRAM = "qwen3-tts";
const QWEN = { name: "Qwen", url: "https://github.com/QwenLM/Qwen3-TTS" };
const OWN = { name: "cloned here", url: "" };
/** What the server chooses where no voice is named; listed where the model has none by name. */
const DEFAULT_VOICE = "default";
/** Those of the official models, for a server whose model has never been open. */
const USUAL_TAGS = ["zh", "en", "ja", "ko", "de", "fr", "ru", "pt", "es", "it"];

interface ListedVoice {
  name: string;
  description: string;
  languages: string[];
  attribution: { name: string; url: string };
  installed: true;
  version: null;
}

/** What a request says about the voice. */
export interface VoiceChoice {
  voice?: string;
  language?: string;
}

export class Info {
  /** As of the last time that the model was open. */
  private listed: ListedVoice[] = [];
  /** Cloned voice -> when it was made. */
  private readonly made = new Map<string, string>();

  constructor(
    private readonly service: Pick<Service, "voices" | "engine">,
    private readonly tellMade: (voice: string) => void,
  ) {}

  /** Never without a voice: Home Assistant would not use the server then. */
  describe(): object {
    this.refresh();
    const voices =
      this.listed.length > 0 ? this.listed : [listed(DEFAULT_VOICE, "Default", USUAL_TAGS, QWEN)];
    const program = {
      name: PROGRAM,
      description: "Qwen3-TTS",
      attribution: QWEN,
      installed: true,
      version,
      supports_synthesize_streaming: true,
      voices,
    };
    return { tts: [program] };
  }

  private refresh(): void {
    try {
      const { languages } = this.service.engine.manifest.prompt;
      const voices = this.service.voices.list();
      for (const { kind, made, name } of voices) if (kind === "cloned") this.note(name, made);
      const names = voices.length > 0 ? voices : [{ name: DEFAULT_VOICE, kind: "speaker" as const }];
      const { dialects } = this.service.engine.manifest.prompt;
      this.listed = names.flatMap(({ kind, name }) =>
        perLanguage(name, kind === "cloned" ? OWN : QWEN, languages, dialects[name]),
      );
    } catch {
      // while a model is opened, or the folder of voices cannot be read, what was known still holds
    }
  }

  /** Home Assistant keeps what a voice has said by its name. */
  private note(name: string, made: string): void {
    const before = this.made.get(name);
    this.made.set(name, made);
    if (before !== undefined && before !== made) this.tellMade(name);
  }

  /**
   * The voice and the language that `voice` of a request asks for: `{name}`, a listed name or a plain one,
   * or `{language}`. A `speaker` takes the place of the voice, in the language of the name.
   * @throws TtsError or Refusal where that cannot be known
   */
  chosen(given: unknown): VoiceChoice {
    if (!isObject(given)) return {};
    const [name, language, speaker] = [given.name, given.language, given.speaker].map((value) =>
      typeof value === "string" && value !== "" ? value.toLowerCase() : undefined,
    );
    const choice = name === undefined ? { language } : this.named(name);
    return speaker === undefined ? choice : { ...choice, voice: speaker };
  }

  private named(name: string): VoiceChoice {
    const known = (voice: string) =>
      voice === DEFAULT_VOICE || this.service.voices.list().some((one) => one.name === voice);
    const plain = (voice: string) => (voice === DEFAULT_VOICE ? undefined : voice);
    const dot = name.lastIndexOf(".");
    if (dot < 0 || known(name)) return { voice: plain(name) };
    const voice = name.slice(0, dot);
    return known(voice) ? { voice: plain(voice), language: name.slice(dot + 1) } : { voice: name };
  }
}

function perLanguage(
  name: string,
  attribution: ListedVoice["attribution"],
  languages: ModelFacts["prompt"]["languages"],
  dialect?: string,
): ListedVoice[] {
  // dialects cannot be asked for: they come with their speaker
  const tags = Object.keys(languages)
    .filter((language) => !language.includes("dialect"))
    .map((language) => tagOf(language))
    .filter((tag) => tag !== undefined);
  const title = wordsOf(name);
  if (tags.length <= 1) return [listed(name, title, tags, attribution)];
  return tags.map((tag) => {
    const description = tag === "zh" && dialect !== undefined ? `${title} (${wordsOf(dialect)})` : title;
    return listed(`${name}.${tag}`, description, [tag], attribution);
  });
}

const listed = (
  name: string,
  description: string,
  languages: string[],
  attribution: ListedVoice["attribution"],
): ListedVoice => ({ name, description, languages, attribution, installed: true, version: null });

const wordsOf = (name: string) =>
  name
    .split(/[_-]+/)
    .filter((word) => word !== "")
    .map((word) => (word === "dialect" ? word : word[0].toUpperCase() + word.slice(1)))
    .join(" ");

let tags: Map<string, string> | null = null;

/** "german" -> "de": a language by its English name, as models call it. */
function tagOf(language: string): string | undefined {
  tags ??= allTags();
  return tags.get(language);
}

function allTags(): Map<string, string> {
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" });
  const known = new Map<string, string>();
  for (const tag of letters.flatMap((first) => letters.map((second) => first + second))) {
    const name = names.of(tag)?.toLowerCase();
    // old tags have a new one of the same name
    if (name !== undefined && new Intl.Locale(tag).language === tag) known.set(name, tag);
  }
  return known;
}
