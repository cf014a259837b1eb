// The code predictor's side of the wire, little endian: f32 [hidden] + i32 code 0 -> 15 x i32, any number of
// times on a connection. A request that cannot be predicted ends the connection, since the layout has no word
// for an error.

import { standalone } from "../../backends/stage.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { assertCodes } from "../../formats/codes.ts";
import { PredictorStage } from "../../stages/predictor.ts";
import { streamsOf } from "../../stages/sentence.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import type { Peer } from "./_peer.ts";
import { assertFinite, randomSeed, type Signs, type StageService, type StageStart, turn } from "./_wire.ts";

export class PredictorService implements StageService {
  readonly opened: StageService["opened"];
  private readonly predictor: PredictorStage;
  private readonly codeLimit: number;
  /** Lines of draws that no connection uses now; `lines` counts all of them. */
  private readonly idle: number[] = [];
  private lines = 0;
  /** The frame under way. All connections share it, since no wait comes between filling and copying it. */
  private readonly codes = new Int32Array(new SharedArrayBuffer(4 * CODES_PER_FRAME));
  private readonly line = new Int32Array(1);

  constructor(
    private readonly bundle: Bundle,
    private readonly start: StageStart,
    signs: Signs,
  ) {
    this.predictor = new PredictorStage({ ...standalone(bundle, start.config), onOpening: signs.opening });
    this.opened = this.predictor.opened;
    this.codeLimit = bundle.manifest.shape.codes;
  }

  async serve(peer: Peer): Promise<void> {
    const width = this.bundle.manifest.shape.hidden;
    const memory = new SharedArrayBuffer(4 * width + 4);
    const request = new Uint8Array(memory);
    const [hidden, code0] = [new Float32Array(memory, 0, width), new Int32Array(memory, 4 * width, 1)];
    const codes = new Int32Array(CODES_PER_FRAME);
    const answer = new Uint8Array(codes.buffer, 4);
    const line = this.idle.pop() ?? this.lines++;
    const settings = { ...this.bundle.manifest.sampling.predictor, repetitionPenalty: 1 };
    this.predictor.begin(line, settings, this.start.seed ?? randomSeed(), streamsOf(0).predictor);
    try {
      while (await peer.read(request, "a frame")) {
        assertFinite(hidden, "the hidden state");
        assertCodes(code0, this.codeLimit);
        this.codes[0] = code0[0];
        this.line[0] = line;
        this.predictor.predict(this.line, 1, hidden, this.codes);
        codes.set(this.codes);
        await peer.write(answer);
        await turn(); // others have frames too
      }
    } finally {
      this.idle.push(line);
      peer.leave();
    }
  }
}
