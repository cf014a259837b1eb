// The state of lanes on a card of AXCL: it stays there from run to run, and is only copied to be saved or
// restored.

import { address } from "../load/memory.ts";
import type { CardMemory } from "./_axcl-memory.ts";
import type { CardModel, CardTensor } from "./_axcl-model.ts";
import type { LaneStates } from "./lanes.ts";

interface State {
  input: CardTensor;
  output: CardTensor;
  bytes: number;
  /** Card address of each lane's state. */
  lanes: bigint[];
  /** Card address where the next run writes; keep() exchanges it for the lane's. */
  spare: bigint;
  /** Buffer through which states are saved and restored; `host` is its address. */
  staging: Float32Array;
  host: bigint;
}

export class CardStates implements LaneStates {
  readonly lengths: readonly number[];
  private readonly states: State[];

  constructor(
    private readonly model: CardModel,
    private readonly memory: CardMemory,
    pairs: readonly { input: CardTensor; output: CardTensor }[],
    lanes: number,
  ) {
    this.states = pairs.map(({ input, output }) => {
      const { bytes } = input;
      const staging = new Float32Array(new ArrayBuffer(bytes));
      const spare = memory.allocate(output.name, bytes);
      const own = Array.from({ length: lanes }, () => memory.allocate(input.name, bytes));
      return { input, output, bytes, lanes: own, spare, staging, host: BigInt(address(staging)) };
    });
    this.lengths = this.states.map(({ staging }) => staging.length);
  }

  enter(lane: number): void {
    for (const { input, lanes, output, spare } of this.states) {
      this.model.place(input, lanes[lane]);
      this.model.place(output, spare);
    }
  }

  keep(lane: number): void {
    for (const state of this.states) {
      const before = state.lanes[lane];
      state.lanes[lane] = state.spare;
      state.spare = before;
    }
  }

  reset(lane: number): void {
    for (const { bytes, lanes } of this.states) this.memory.clear(lanes[lane], bytes);
  }

  save(lane: number): Float32Array[] {
    return this.states.map(({ bytes, host, lanes, staging }) => {
      this.memory.copyFromCard(host, lanes[lane], bytes);
      return staging.slice();
    });
  }

  restore(lane: number, state: readonly Float32Array[]): void {
    for (const [i, { bytes, host, lanes, staging }] of this.states.entries()) {
      staging.set(state[i]);
      this.memory.copyToCard(lanes[lane], host, bytes);
    }
  }
}
