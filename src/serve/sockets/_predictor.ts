// The code predictor's side of the wire, little endian: f32 [hidden] + i32 code 0 -> 15 x i32, any number of times on a connection. What
// cannot be predicted ends the connection, since the layout has no word for an error.

import { TtsError } from "../../errors.ts";
import type { Bundle } from "../../formats/bundle.ts";
import { HostedPredictor, type Signs } from "../../pipeline/hosted.ts";
import { CODES_PER_FRAME } from "../../types.ts";
import type { Peer } from "./_peer.ts";
import { assertFinite, randomSeed, type StageService, type StageStart, turn } from "./_wire.ts";

export class PredictorService implements StageService {
  readonly opened: StageService["opened"];
  private readonly predictor: HostedPredictor;
  private readonly codeLimit: number;
  /** Of the frame under way: nothing waits between filling and sending them, so all connections share them. */
  private readonly codes = new Int32Array(new SharedArrayBuffer(4 * CODES_PER_FRAME));

  constructor(
    private readonly bundle: Bundle,
    private readonly start: StageStart,
    signs: Signs,
  ) {
    this.predictor = new HostedPredictor(bundle, start.config, signs);
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
    const sampler = this.predictor.takeSampler(this.start.seed ?? randomSeed());
    try {
      while (await peer.read(request, "a frame")) {
        assertFinite(hidden, "the hidden state");
        this.assertCode(code0[0]);
        this.codes[0] = code0[0];
        this.predictor.predict(hidden, this.codes, sampler);
        codes.set(this.codes);
        await peer.write(answer);
        await turn(); // others have frames too
      }
    } finally {
      this.predictor.returnSampler(sampler);
      peer.leave();
    }
  }

  private assertCode(code: number): void {
    if (code >= 0 && code < this.codeLimit) return;
    throw new TtsError("CODES_INVALID", `code 0 is ${code}`, `this model's codes are 0 to ${this.codeLimit - 1}`);
  }
}
