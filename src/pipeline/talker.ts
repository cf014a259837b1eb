// The talker stage: text to prompt, prompt to frames. All busy lanes move on together, one frame per turn, and wait for room together.

import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import { monotonicMs } from "../../ffi/libc.ts";
import { openBackend, openTokenizer, TALKERS } from "../backends/index.ts";
import type { OnOpening, Opened, Talker, Tokenizer } from "../backends/stage.ts";
import { toWire } from "../errors.ts";
import { Sampler } from "../sampler.ts";
import { Embedder, type VoiceVectors } from "../stages/embed.ts";
import { Prefill } from "../stages/prefill.ts";
import { modelIdentity } from "../stages/prompt-cache.ts";
import { Track } from "../stages/timeline.ts";
import type { Prompt } from "../text/prompt.ts";
import { CODES_PER_FRAME, type StopReason } from "../types.ts";
import { Mailbox } from "./mailbox.ts";
import { type FromStage, type SpeakJob, type StageJob, streamsOf, type ToTalker } from "./messages.ts";
import { Ring } from "./ring.ts";
import { promptOf } from "./sentence.ts";
import { Signals } from "./signals.ts";

/** A start, a frame, and the end for which a busy lane keeps a block free. */
const BLOCKS_PER_TURN = 3;
const NO_VOICE: VoiceVectors = { xVector: null, codes: null };

/** What a lane is busy with. */
interface Sentence {
  job: SpeakJob;
  prompt: Prompt;
  /** Frames emitted. */
  frames: number;
  maxFrames: number;
  /** Drawn, not yet emitted. */
  code0: number;
}

export class TalkerStage {
  readonly opened: Opened<Talker>;
  private readonly signals: Signals;
  private readonly mailbox: Mailbox;
  private readonly rings: Ring[];
  private readonly track: Track;
  private readonly talker: Talker;
  private readonly tokenizer: Tokenizer;
  private readonly embedder: Embedder;
  private readonly prefill: Prefill;
  private readonly samplers: Sampler[];
  private readonly lanes: (Sentence | null)[];
  private readonly waiting: SpeakJob[] = [];
  private readonly hidden: Float32Array[]; // [hidden] of each lane
  private readonly outgoing: Float32Array[]; // [hidden] of each packed row, in the mailbox
  private readonly inputs: Float32Array; // [lanes, hidden], packed
  private readonly stepHidden: Float32Array; // [lanes, hidden], packed
  private readonly stepRows: Float32Array[]; // its rows
  private readonly stepLogits: Float32Array; // [lanes, codec vocabulary], packed
  private readonly eos: number;
  private readonly textPad: number;
  private readonly contextPositions: number;
  private closing = false;
  private closed = false;

  constructor(
    private readonly start: StageJob,
    onOpening: OnOpening,
  ) {
    const { bundle, config, memory } = start;
    const lanes = config.lanes;
    this.signals = new Signals(memory.signals);
    this.mailbox = new Mailbox(memory.mailbox, this.signals);
    this.rings = memory.codes.slice(0, lanes).map((ring) => new Ring(ring));
    this.track = new Track(memory.timeline.talker);
    const { loadTurn, memory: shared } = this.signals;
    const options = { bundle, config, lanes, stop: shared.nativeStop, loadTurn, onOpening };
    const identity = modelIdentity(bundle);
    this.tokenizer = openTokenizer(options);
    this.embedder = new Embedder(bundle);
    this.opened = openBackend(TALKERS, "auto", options); // last: what it takes is large
    this.talker = this.opened.stage;
    const { hidden, codecVocabulary, codes } = bundle.manifest.shape;
    const { prompt } = bundle.manifest;
    [this.eos, this.textPad] = [prompt.codec.eos, prompt.text.ttsPad];
    this.contextPositions = config.contextPositions;
    this.samplers = Array.from({ length: lanes }, () => new Sampler({ size: codecVocabulary, codes, eos: this.eos }));
    this.lanes = Array.from({ length: lanes }, () => null);
    const floats = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
    const rowsOf = (matrix: Float32Array) => Array.from({ length: lanes }, (_, row) => matrix.subarray(row * hidden, (row + 1) * hidden));
    this.hidden = rowsOf(floats(lanes * hidden));
    this.outgoing = rowsOf(this.mailbox.hidden);
    this.inputs = floats(lanes * hidden);
    this.stepHidden = floats(lanes * hidden);
    this.stepRows = rowsOf(this.stepHidden);
    this.stepLogits = floats(lanes * codecVocabulary);
    const results = { hidden: this.stepHidden, logits: this.stepLogits };
    const { cacheDir, prefixCache: choice } = config;
    const onPiece = () => this.track.live();
    this.prefill = new Prefill({ talker: this.talker, track: this.track, ...results, onPiece, choice, cacheDir, identity });
  }

  /** Messages wake the loop when it is idle; while it runs it looks for them between frames. `guard` takes what goes wrong. */
  listen(guard: (work: () => void) => void): void {
    parentPort!.on("message", (message: ToTalker) => {
      guard(() => {
        if (this.closed) return; // stopped first, told to close afterwards
        this.accept(message);
        this.runUntilIdle();
        if (this.closing || this.signals.stopped) this.close();
      });
    });
  }

  private accept(message: ToTalker): void {
    if ("speak" in message) this.waiting.push(...message.speak);
    else this.closing = true;
  }

  private runUntilIdle(): void {
    while (!this.signals.stopped) {
      const seen = this.signals.read("talker");
      this.takeMessages();
      this.endCancelled();
      if (!this.hasRoom) {
        this.signals.wait("talker", seen);
        continue;
      }
      this.fillLanes();
      const count = this.pack();
      if (count > 0) {
        if (!this.advance(count)) return;
        continue;
      }
      if (this.waiting.length === 0 && this.lanes.every((sentence) => sentence === null)) {
        if (this.prefill.tidy()) continue; // messages first
        return;
      }
    }
  }

  /**
   * All lanes wait for the slowest one: were it left out of a step, which rows share a step would depend on time, and with some weight
   * types a row's rounding depends on that.
   */
  private get hasRoom(): boolean {
    return this.rings.every((ring) => ring.free >= BLOCKS_PER_TURN);
  }

  private takeMessages(): void {
    for (;;) {
      const received = receiveMessageOnPort(parentPort as unknown as MessagePort);
      if (received === undefined) return;
      this.accept(received.message as ToTalker);
    }
  }

  private endCancelled(): void {
    for (let lane = 0; lane < this.lanes.length; lane++) {
      const sentence = this.lanes[lane];
      if (sentence !== null && this.signals.isCancelled(sentence.job.job)) this.endLane(lane, "cancelled");
    }
  }

  /** Free lanes take waiting sentences. */
  private fillLanes(): void {
    for (let lane = 0; lane < this.lanes.length && this.waiting.length > 0; lane++) {
      if (this.lanes[lane] !== null) continue;
      const job = this.waiting.shift()!;
      this.rings[lane].pushStart(job.job, job.reference !== null && job.reference.codes !== null);
      this.signals.ring("vocoder");
      try {
        if (this.signals.isCancelled(job.job)) this.rings[lane].pushEnd(job.job, "cancelled");
        else this.begin(lane, job);
      } catch (error) {
        parentPort!.postMessage({ job: job.job, error: toWire(error) } satisfies FromStage);
        this.lanes[lane] = null;
        this.rings[lane].pushEnd(job.job, "failed");
      }
      this.signals.ring("vocoder");
    }
  }

  private begin(lane: number, job: SpeakJob): void {
    const startMs = monotonicMs();
    const prompt = promptOf(this.start.bundle, this.tokenizer, job);
    const rows = this.embedder.prompt(prompt.rows, job.reference ?? NO_VOICE);
    const lasting = (job.reference?.codes ?? null) !== null;
    const alone = this.rings.every((ring) => ring.filled <= 1); // the start that was just written
    const input = { rows, count: prompt.rows.length, prefixRows: prompt.prefixRows, lasting, alone };
    if (!this.prefill.fill(lane, input, startMs)) return;
    this.hidden[lane].set(this.stepRows[0]);
    const streams = streamsOf(job.stream);
    this.samplers[lane].reset(job.sampling.talker, job.seed, streams.talker);
    this.mailbox.configure(lane, job.job, job.seed, streams.predictor, job.sampling.predictor);
    const maxFrames = Math.min(job.maxFrames, this.contextPositions - prompt.rows.length - 1);
    this.lanes[lane] = { job, prompt, frames: 0, maxFrames, code0: 0 };
    this.drawCode0(lane, 0);
  }

  /** Draws the next frame's code 0 from packed row `row`; the sentence may end here. */
  private drawCode0(lane: number, row: number): void {
    const sentence = this.lanes[lane]!;
    sentence.code0 = this.samplers[lane].draw(this.stepLogits, row * this.talker.codecVocabulary);
    if (sentence.code0 === this.eos) this.endLane(lane, "eos");
    else if (sentence.frames >= sentence.maxFrames) this.endLane(lane, "length");
  }

  /** A busy lane always keeps one free block for its end. */
  private endLane(lane: number, reason: StopReason): void {
    this.rings[lane].pushEnd(this.lanes[lane]!.job.job, reason);
    this.lanes[lane] = null;
    this.signals.ring("vocoder");
  }

  /** Puts every busy lane into the mailbox and returns how many these are. */
  private pack(): number {
    let count = 0;
    for (let lane = 0; lane < this.lanes.length; lane++) {
      const sentence = this.lanes[lane];
      if (sentence === null) continue;
      this.mailbox.lanes[count] = lane;
      this.outgoing[count].set(this.hidden[lane]);
      this.mailbox.codes[count * CODES_PER_FRAME] = sentence.code0;
      count++;
    }
    return count;
  }

  /** One frame for every packed lane. @returns false on stop */
  private advance(count: number): boolean {
    const handedMs = monotonicMs();
    if (!this.mailbox.exchange(count)) return false;
    const startMs = monotonicMs();
    this.track.record("exchange", handedMs, startMs, count);
    this.emit(count);
    if (!this.talker.step(this.mailbox.lanes, count, this.inputs, this.stepHidden, this.stepLogits)) return false;
    for (let row = 0; row < count; row++) {
      const lane = this.mailbox.lanes[row];
      this.hidden[lane].set(this.stepRows[row]);
      this.drawCode0(lane, row);
    }
    this.track.record("step", startMs, monotonicMs(), count);
    return true;
  }

  /** Sends the finished frames on and forms the next inputs: feedback plus the text row that belongs to the frame. */
  private emit(count: number): void {
    const { hidden } = this.talker;
    this.inputs.set(this.mailbox.feedback);
    for (let row = 0; row < count; row++) {
      const lane = this.mailbox.lanes[row];
      const sentence = this.lanes[lane]!;
      this.rings[lane].pushFrame(sentence.job.job, this.mailbox.codes, row * CODES_PER_FRAME);
      this.embedder.addText(sentence.prompt.trailing[sentence.frames] ?? this.textPad, this.inputs, row * hidden);
      sentence.frames++;
    }
    this.signals.ring("vocoder");
  }

  private close(): void {
    this.closed = true;
    while (this.prefill.tidy()); // bounded by what is in memory
    this.talker.close();
    this.tokenizer.close();
    this.embedder.close();
    parentPort!.close();
  }
}
