// How many drafts a pass of the code predictor takes: as many as pay, by how often the draft of each position
// was right of late, and by what a pass of so many rows costs. The choice changes how long a frame takes, and
// never a code. Allocates nothing after the start.

import type { Config } from "../../config.ts";
import type { Tally } from "../stage.ts";

/** Weight of the latest draft in how often one is right: about three frames are remembered. */
const LATEST = 1 / 32;
/** What is expected of drafts that were never tried. */
const UNKNOWN = 0.75;
/** Another number of drafts must promise so much more than the present one. */
const GAIN = 1.03;
/** One frame of so many tries one draft more than seems to pay: the speech may have changed. */
const PROBE_FRAMES = 32;
/** The first pass of a frame gives one code, so the others must give more than all do on average. */
const FIRST_PASS_SHARE = 1.15;

export class DraftWindow {
  /** Drafts of the passes of the frame under way. */
  drafts: number;
  /** The most drafts of a pass. */
  readonly most: number;
  readonly tally: Tally;
  /** Share of right drafts, by position, of those whose predecessors were right. */
  private readonly right: Float64Array;
  private readonly least: number;
  private chosen: number;
  private frames = 0;

  /**
   * @param passMs of 1, 2 ... rows with their drafts; rows beyond its length are not used
   * @param pretendedCodes see {@link Config.pretendedCodes}: the drafts are then always as many as these
   * need, or more where that is cheaper
   */
  constructor(
    private readonly passMs: readonly number[],
    speculate: Config["speculate"],
    pretendedCodes = 0,
  ) {
    const rows = pretendedCodes === 0 ? passMs.length : rowsFor(pretendedCodes, passMs);
    this.most = speculate === "off" ? 0 : rows - 1;
    this.least = pretendedCodes > 0 ? this.most : speculate === "on" ? Math.min(1, this.most) : 0;
    this.right = new Float64Array(this.most).fill(UNKNOWN);
    this.tally = { calls: 0, tried: new Int32Array(this.most), right: new Int32Array(this.most) };
    this.chosen = this.least;
    this.choose();
    this.drafts = this.chosen;
  }

  beginFrame(): void {
    this.tally.calls = 0;
    this.tally.tried.fill(0);
    this.tally.right.fill(0);
    this.choose();
    this.frames++;
    this.drafts = this.chosen;
    if (this.frames % PROBE_FRAMES === 0) this.drafts = Math.min(this.chosen + 1, this.most);
  }

  /** Counts the draft in row `row` of a pass, whose predecessors were all right. */
  note(row: number, right: boolean): void {
    const position = row - 1;
    this.tally.tried[position]++;
    if (right) this.tally.right[position]++;
    this.right[position] += LATEST * ((right ? 1 : 0) - this.right[position]);
  }

  private choose(): void {
    let best = this.chosen;
    let most = GAIN * this.codesPerMs(best);
    for (let drafts = this.least; drafts <= this.most; drafts++) {
      const promised = this.codesPerMs(drafts);
      if (drafts === this.chosen || promised <= most) continue;
      best = drafts;
      most = promised;
    }
    this.chosen = best;
  }

  private codesPerMs(drafts: number): number {
    let codes = 1;
    let reached = 1;
    for (let i = 0; i < drafts; i++) {
      reached *= this.right[i];
      codes += reached;
    }
    return codes / this.passMs[drafts];
  }
}

/** Rows of the cheapest passes that can give so many codes on average. */
function rowsFor(codes: number, passMs: readonly number[]): number {
  const least = Math.min(Math.ceil(FIRST_PASS_SHARE * codes), passMs.length);
  return passMs.lastIndexOf(Math.min(...passMs.slice(least - 1))) + 1;
}
