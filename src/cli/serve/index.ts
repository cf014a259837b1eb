// tts serve: lets other programs speak, by HTTP and Wyoming, or use the stages on sockets. Runs until a
// signal ends it.

import { TtsError } from "../../errors.ts";
import { ENGINE_COMMAND, runEngine } from "../../serve/remote/index.ts";
import { runStage, STAGE_COMMAND } from "../../serve/sockets/index.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { TELL } from "../shared/log.ts";
import { namesOf, SERVE_OPTIONS, type ServeValues } from "./_options.ts";
import { serveProtocols } from "./_server.ts";
import { serveStages } from "./_sockets.ts";

export const command = defineCommand({
  brief: "let other programs speak: HTTP, Wyoming, or the stages",
  synopsis: "serve [OPTIONS]",
  description: [
    "Keeps a model open and speaks for other programs: by HTTP, as programs for OpenAI's speech API ask, and by Wyoming, as Home Assistant does. The model is in a process of its own: one that dies or hangs is replaced within seconds, and the ports stay open.",
    "SIGTERM or SIGINT ends it with status 0: what sounds may finish, for at most 5 s. A second one ends it at once.",
    "With --sockets it serves talker, code predictor and vocoder instead, on the Unix sockets talker.sock, predictor.sock and vocoder.sock in DIR. Each stage is a process of its own: one that dies or hangs is replaced, and the others go on. A signal ends it, and removes the sockets.",
  ],
  examples: [
    ["tts serve", "HTTP on http://127.0.0.1:8080"],
    ["tts serve --host 0.0.0.0 --token-file ~/.tts-token", "for other machines, which must bring the token"],
    ["tts serve --wyoming-port 10200 --wyoming-host 0.0.0.0 --no-auth", "for Home Assistant"],
    ["tts serve --sockets /run/user/1000/tts -m 0.6b-custom", "the three stages"],
    ["tts serve --sockets ~/tts --stage vocoder --cpus 7", "the vocoder alone, on a core of its own"],
  ],
  sections: {
    "WIRE OF THE SOCKETS": [
      "Everything is little endian; H is the width of the model (hidden in the shape of bundle.json).",
      'talker.sock\nThe client sends u32 length and that many bytes of JSON: {"text", "language"}, and optionally speaker, instruct, maxFrames, seed, greedy, rawText, normalize. The text is one sentence, given to the model whole, and read as tts reads it. For every frame the server sends i32 code_0 and f32[H] hidden state, and waits for f32[H], the complete next input: the sum of the embeddings of the frame\'s 16 codes and of tts_pad. After the feedback for the last frame the server sends i32 -1, and the connection may go on with another sentence. i32 -2 is an error, after which the server closes the connection.',
      "predictor.sock\nThe client sends f32[H] hidden state and i32 code_0, and gets 15 x i32, as often as it likes. An error closes the connection.",
      "vocoder.sock\nThe client sends i32 n, up to 10000, and i64[n*16] codes, and gets i32 samples and i16[samples], as often as it likes; every request starts afresh. An error closes the connection.",
      "A stage has up to 64 clients at once. A further one takes the place of the client that has been idle longest, if that is longer than --patience; else it is sent away.",
      "A line on standard error says what was wrong with a request. A connection that ends early was refused, or its stage has died: connect again, the stage comes back by itself.",
    ],
    ENVIRONMENT: [
      "TTS_TOKEN\nThe token that HTTP requests must bring, where --token-file names none.",
      "TTS_STAGE_TIMEOUT\nA process that gives no sign of life for this many seconds is replaced. Default: 120.",
    ],
  },
  options: SERVE_OPTIONS,
  run: serve,
});

/** What starts these processes also gives them a channel. */
const HIDDEN = new Map<string, () => Promise<void>>([
  [STAGE_COMMAND[1], runStage],
  [ENGINE_COMMAND[1], runEngine],
]);

async function serve(args: ServeValues, { positionals }: CommandData): Promise<void> {
  const hidden = process.send === undefined ? undefined : HIDDEN.get(positionals.join());
  if (hidden !== undefined) return hidden();
  if (positionals.length > 0)
    throw new TtsError("USAGE", `serve takes no ${JSON.stringify(positionals[0])}`, "see tts serve --help");
  const isOnSockets = args.sockets !== undefined;
  const [given] = namesOf(!isOnSockets).filter((name) => givenIn(args, name) !== undefined);
  if (given !== undefined)
    throw new TtsError(
      "USAGE",
      isOnSockets ? `--sockets and --${given} do not go together` : `--${given} needs --sockets DIR`,
      "see tts serve --help",
    );
  await (isOnSockets ? serveStages : serveProtocols)(args, TELL);
}

/** citty gives --no-auth as auth = false. */
const givenIn = (args: ServeValues, name: string) =>
  (args as Record<string, unknown>)[name.replace(/^no-/, "")];
