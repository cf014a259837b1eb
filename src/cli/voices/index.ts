// tts voices: takes voices from recordings, and keeps, shows, renames, exports and imports them.

import type { Command } from "../shared/command.ts";
import { add } from "./_add.ts";
import { exportTo, importFrom, list, rename, rm, show } from "./_kept.ts";

const subcommands = { list, add, show, rename, rm, export: exportTo, import: importFrom };

export const command: Command = {
  ...list,
  brief: "clone and keep voices",
  synopsis:
    "voices [list]  |  voices add NAME --from FILE  |  voices show|rm NAME  |  voices rename OLD NEW  |  voices export NAME FILE  |  voices import FILE [NAME]",
  description: [
    "A Base model takes a voice from a recording, on this machine. A voice is a small file that can be passed on. Take only voices that you may use.",
    "Without a further word the voices are listed. add, rename and import replace a voice only with --force.",
  ],
  examples: [...add.examples, ...rename.examples],
  sections: {
    FILES: [
      "~/.local/share/qwen3-tts/voices\nThe voices; TTS_VOICES names another folder. models/VOICE.md describes the files.",
    ],
  },
  subcommands,
};
