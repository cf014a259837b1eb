// The tables of options: the compiler knows their names and kinds (tsc checks the lines that must not
// compile), and citty reads what the types say.

import { expect, test } from "bun:test";
import { runCommand } from "citty";
import { type CommandData, defineCommand } from "../../src/cli/shared/command.ts";
import {
  type MACHINE_OPTIONS,
  readMachine,
  readVocoder,
  VOCODER_OPTIONS,
} from "../../src/cli/shared/machine-options.ts";
import {
  choice,
  filePath,
  flagOf,
  number,
  type Options,
  readArguments,
  readWeights,
  type Values,
} from "../../src/cli/shared/options.ts";
import { readOutput } from "../../src/cli/shared/sound-output.ts";
import { fromWire, spellSettings, TtsError, toWire } from "../../src/errors.ts";
import { newFolder, shell } from "./_tts.ts";

const options = {
  model: { type: "string", alias: "m", description: "A text." },
  "max-frames": { type: "string", description: "A number." },
  greedy: { type: "boolean", description: "A switch." },
  "no-convert": { type: "boolean", description: "A switch that turns something off." },
  ...VOCODER_OPTIONS,
} as const satisfies Options;
type Arguments = Values<typeof options>;

/** Never called. tsc reports each comment whose next line compiles. */
const refused = (args: Arguments) => [
  // @ts-expect-error a misspelt option
  args.modle,
  // @ts-expect-error a misspelt option
  number(args, "max-frame"),
  // @ts-expect-error a misspelt option
  choice(args, "vocodr", ["ort"]),
  // @ts-expect-error a misspelt option
  filePath(args, "modle"),
  // @ts-expect-error a switch is no number
  number(args, "greedy"),
  // @ts-expect-error a switch is no path
  filePath(args, "greedy"),
  // @ts-expect-error a switch is no text
  args.greedy satisfies string | undefined,
  // @ts-expect-error a text is no switch
  args.model satisfies boolean | undefined,
  // @ts-expect-error citty gives it as convert
  args["no-convert"],
  // @ts-expect-error the table has no weights
  readWeights(args),
  // @ts-expect-error the table has no output
  readOutput(args),
  // @ts-expect-error the table has a vocoder alone
  readMachine(args),
  // @ts-expect-error an option has a text for the manual
  { model: { type: "string" } } satisfies Options,
];

const compiles = (args: Arguments, all: Values<typeof MACHINE_OPTIONS>) => [
  readVocoder(args),
  readVocoder(all),
  readMachine(all),
];

test("a command gets the values that its table promises, and its positionals", async () => {
  expect([refused, compiles].length).toBe(2);
  let got: [Arguments, CommandData["positionals"]] | undefined;
  const command = defineCommand({
    ...{ brief: "try", synopsis: "try", description: [], examples: [] },
    options,
    run: (args, { positionals }) => {
      got = [args, positionals];
    },
  });
  const { flags, positionals } = readArguments(
    ["-m", "starter", "Hello.", "--max-frames=5", "--greedy", "--no-convert"],
    options,
  );
  await runCommand(command.definition, { rawArgs: flags, data: { positionals } });
  const [args, words] = got!;
  expect([args.model, number(args, "max-frames"), args.greedy, args.convert]).toEqual([
    "starter",
    5,
    true,
    false,
  ]);
  expect([args.vocoder, choice(args, "vocoder", ["ort"]), words]).toEqual([undefined, undefined, ["Hello."]]);
});

test.each([
  ["greedy", "--greedy"],
  ["maxFrames", "--max-frames"],
  ["cpus.vocoder", "--vocoder-cpus"],
  ["model", "-m"], // it has a short spelling
  ["cpus.talker", "cpus.talker"], // this command has no such option
  ["toString", "toString"],
])("the setting %s is the option %s", (setting, flag) => {
  expect(flagOf(setting, options)).toBe(flag);
});

test("a hint names settings for programs and options for users, also when it comes from a worker", () => {
  const hint = 'give fewer {maxFrames}, or leave {instruct} out of {"text": 1}';
  for (const error of [
    new TtsError("USAGE", "maxFrames is {greedy}", hint),
    fromWire(toWire(new TtsError("USAGE", "maxFrames is {greedy}", hint))),
  ]) {
    expect(error.hint).toBe('give fewer maxFrames, or leave instruct out of {"text": 1}');
    expect(error.inOneLine).toBe(`maxFrames is {greedy}; ${error.hint}`);
    const spelled = spellSettings(error.markedHint, (setting) => flagOf(setting, options));
    expect(error.inOneLineWith(spelled)).toBe(
      'maxFrames is {greedy}; give fewer --max-frames, or leave instruct out of {"text": 1}',
    );
  }
});

test.each([
  [
    "--temperature 0",
    "temperature is 0; it must be above 0 and at most 100; for the likeliest code use --greedy",
  ],
  [
    "--cpus 0 --threads 2",
    "2 threads do not fit on the 1 core of the talker; give --threads 1, or more cores with --talker-cpus",
  ],
  [
    '-m "$STARTER" --instruct Slowly.',
    "starter does not follow instructions; leave out --instruct, or choose a 1.7B model",
  ],
])("tts %s: the hint names options", async (args, line) => {
  expect(await shell(`$TTS Hello. ${args}`, newFolder())).toEqual({
    status: 2,
    stdout: "",
    stderr: `tts: ${line}\n`,
  });
});

test("an option may mean something without a value", () => {
  const chime = {
    type: "string",
    description: "A sound.",
    implied: { value: "own", unlessNext: /\.wav$/ },
  } as const;
  const read = (...raw: string[]) => readArguments(raw, { chime, greedy: options.greedy });
  expect(read("--chime", "Hello.")).toEqual({ flags: ["--chime=own"], positionals: ["Hello."] });
  expect(read("Hello.", "--chime")).toEqual({ flags: ["--chime=own"], positionals: ["Hello."] });
  expect(read("--chime", "--greedy")).toEqual({ flags: ["--chime=own", "--greedy"], positionals: [] });
  expect(read("--chime", "ding.wav", "Hello.")).toEqual({
    flags: ["--chime=ding.wav"],
    positionals: ["Hello."],
  });
  expect(read("--chime=ding", "Hello.")).toEqual({ flags: ["--chime=ding"], positionals: ["Hello."] });
});
