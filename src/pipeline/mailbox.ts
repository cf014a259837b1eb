// One slot between talker and predictor, which alternate on every frame. Rows are packed: row i belongs to
// lane lanes[i].

import { CODES_PER_FRAME, type SamplerSettings } from "../types.ts";
import type { Signals } from "./signals.ts";

const TALKER_HAS_IT = 0;
export const PREDICTOR_HAS_IT = 1;
/** job, seed, stream, greedy, temperature, top-k, top-p */
const SETTING_WORDS = 7;

export interface MailboxMemory {
  /** i32 [1 + lanes]: how many rows, then the lane of each */
  rows: SharedArrayBuffer;
  /** f32 [lanes, hidden] */
  hidden: SharedArrayBuffer;
  /** i32 [lanes, 16]: code 0 from the talker, the others from the predictor */
  codes: SharedArrayBuffer;
  /** f32 [lanes, hidden]: sum of the 16 code embeddings */
  feedback: SharedArrayBuffer;
  /** f64 [lanes, 7]: what each lane's predictor codes are drawn with */
  settings: SharedArrayBuffer;
}

export const createMailboxMemory = (lanes: number, hidden: number): MailboxMemory => ({
  rows: new SharedArrayBuffer(4 * (1 + lanes)),
  hidden: new SharedArrayBuffer(4 * lanes * hidden),
  codes: new SharedArrayBuffer(4 * lanes * CODES_PER_FRAME),
  feedback: new SharedArrayBuffer(4 * lanes * hidden),
  settings: new SharedArrayBuffer(8 * lanes * SETTING_WORDS),
});

export class Mailbox {
  readonly hidden: Float32Array;
  readonly codes: Int32Array;
  readonly feedback: Float32Array;
  /** i32 [lanes] */
  readonly lanes: Int32Array;
  private readonly rows: Int32Array;
  private readonly settings: Float64Array;

  constructor(
    memory: MailboxMemory,
    private readonly signals: Signals,
  ) {
    this.rows = new Int32Array(memory.rows);
    this.lanes = this.rows.subarray(1);
    this.hidden = new Float32Array(memory.hidden);
    this.codes = new Int32Array(memory.codes);
    this.feedback = new Float32Array(memory.feedback);
    this.settings = new Float64Array(memory.settings);
  }

  get count(): number {
    return this.rows[0];
  }

  /** Talker: sets what the predictor draws with in this lane from now on. */
  configure(
    lane: number,
    job: number,
    seed: number,
    stream: number,
    { greedy, temperature, topK, topP }: SamplerSettings,
  ): void {
    this.settings.set([job, seed, stream, greedy ? 1 : 0, temperature, topK, topP], lane * SETTING_WORDS);
  }

  /** Predictor: the job whose codes it draws in this lane. */
  jobOf(lane: number): number {
    return this.settings[lane * SETTING_WORDS];
  }

  settingsOf(lane: number): { seed: number; stream: number; settings: SamplerSettings } {
    const [, seed, stream, greedy, temperature, topK, topP] = this.settings.subarray(lane * SETTING_WORDS);
    return {
      seed,
      stream,
      settings: { greedy: greedy === 1, temperature, topK, topP, repetitionPenalty: 1 },
    };
  }

  /**
   * Talker: hands over `count` rows and waits for codes and feedback.
   * @returns false on stop
   */
  exchange(count: number): boolean {
    this.rows[0] = count;
    this.signals.turn = PREDICTOR_HAS_IT;
    while (this.signals.turn === PREDICTOR_HAS_IT) {
      if (this.signals.stopped) return false;
      this.signals.waitTurn(PREDICTOR_HAS_IT);
    }
    return !this.signals.stopped;
  }

  /** Predictor: waits for rows. @returns false on stop */
  receive(): boolean {
    while (this.signals.turn === TALKER_HAS_IT) {
      if (this.signals.stopped) return false;
      this.signals.waitTurn(TALKER_HAS_IT);
    }
    return !this.signals.stopped;
  }

  /** Predictor: returns codes and feedback. */
  answer(): void {
    this.signals.turn = TALKER_HAS_IT;
  }
}
