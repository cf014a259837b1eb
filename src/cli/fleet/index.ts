// tts fleet: who is there.

import { spellSettings, TtsError } from "../../errors.ts";
import { listBoards } from "../../fleet/directory.ts";
import type { BoardState } from "../../fleet/messages.ts";
import { printText } from "../../io/output.ts";
import { type CommandData, defineCommand } from "../shared/command.ts";
import { enterFleet, FLEET_OPTION, FLEET_SECTIONS, NAME_OPTION, nameOf } from "../shared/fleet-options.ts";
import { log, TELL } from "../shared/log.ts";
import { COMMON, type Options, type Values } from "../shared/options.ts";

const options = {
  json: { type: "boolean", description: "Print a list of JSON objects.", group: "Output" },
  ...FLEET_OPTION,
  ...NAME_OPTION,
  ...COMMON,
} as const satisfies Options;

export const command = defineCommand({
  brief: "list the boards of a fleet, and how they are",
  synopsis: "fleet [OPTIONS]",
  description: [
    "One line a board: its name, its rooms, its model, how many seconds a second of sound takes (RTF), the announcements that it holds and the sounds that it makes, how far its clock is from the hub's, and what went wrong last. A board that has been silent for 15 s is not listed.",
  ],
  examples: [
    ["tts fleet", "with the hub that TTS_FLEET names"],
    ["tts fleet --json | jq '.[].rooms'", "for programs"],
  ],
  sections: FLEET_SECTIONS,
  options,
  run: list,
});

async function list(args: Values<typeof options>, { positionals }: CommandData): Promise<void> {
  if (positionals.length > 0)
    throw new TtsError("USAGE", `fleet takes no ${JSON.stringify(positionals[0])}`, "see tts fleet --help");
  const { clock, hub } = await enterFleet(args.fleet, nameOf(args), { tell: TELL });
  try {
    const listed = await listBoards(hub, clock.nowMs());
    const boards = listed.map((board) => ({ ...board, lastError: withJoinFlags(board.lastError) }));
    if (args.json === true) return await printText(`${JSON.stringify(boards, null, 1)}\n`);
    if (boards.length === 0) log.info(`no board is at ${hub.url}: tts join starts one`);
    await printText(table(boards.map((board) => cellsOf(board, clock.nowMs()))));
  } finally {
    await hub.close();
  }
}

/** What a board tells of itself may be long; --json has all of it. */
const MOST_CELL = 100;
/** Errors of boards name options of tts join. */
const withJoinFlags = (line: string) => spellSettings(line, (setting) => `--${setting}`);

const HEAD = ["BOARD", "ROOMS", "MODEL", "RTF", "HOLDS", "MAKES", "CLOCK", "LAST ERROR"];

function cellsOf(
  { clock, lastError, lastErrorAt, making, model, name, rooms, rtf, waiting }: BoardState,
  nowMs: number,
): string[] {
  const ago = `${Math.round((nowMs - lastErrorAt) / 60_000)} min ago: `;
  return [
    name,
    rooms.join(",") || "-",
    model ?? "-",
    rtf === null ? "-" : rtf.toFixed(2),
    String(waiting),
    String(making),
    `${clock.offsetMs < 0 ? "" : "+"}${clock.offsetMs.toFixed(1)} ms`,
    lastError === "" ? "-" : ago + lastError,
  ].map((cell) => (cell.length <= MOST_CELL ? cell : `${cell.slice(0, MOST_CELL - 1)}…`));
}

/** Columns as wide as their longest cell. */
function table(rows: readonly string[][]): string {
  if (rows.length === 0) return "";
  const all = [HEAD, ...rows];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const lineOf = (row: string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join("  ")
      .trimEnd();
  return `${all.map(lineOf).join("\n")}\n`;
}
