// A graph on an accelerator with the state of its lanes. Knows which lane ran and whether its new state is
// kept, and refuses calls on a closed model. The state lies in this process, or where a vendor's file keeps
// it. Calls no library.

import { TtsError } from "../../src/errors.ts";
import { elementsOf, type NpuModel, type NpuModelOptions, type NpuTensor, type StatePair } from "./model.ts";

/** A loaded graph whose tensors can be read and written in this process. */
export interface BoundGraph {
  readonly inputs: readonly NpuTensor[];
  readonly outputs: readonly NpuTensor[];
  /** @throws TtsError NPU_FAILED; the outputs mean nothing then */
  execute(): void;
  /** execute() in two parts, for a graph that another thread computes. The first does not wait. */
  begin?(): void;
  end?(): void;
  /** Frees everything; the tensors are empty from then on. */
  close(): void;
}

/** The state of all lanes. A lane's state is a list of values for each pair. */
export interface LaneStates {
  /** Values of each pair. */
  readonly lengths: readonly number[];
  /** The graph's next run reads this lane's state. */
  enter(lane: number): void;
  /** What the graph wrote becomes the lane's state. */
  keep(lane: number): void;
  reset(lane: number): void;
  save(lane: number): Float32Array[];
  /** @param state of these {@link lengths} */
  restore(lane: number, state: readonly Float32Array[]): void;
}

const NO_RUN = -1;

export class LanedModel implements NpuModel {
  readonly inputs: readonly NpuTensor[];
  readonly outputs: readonly NpuTensor[];
  /** The lane of a run that has begun. */
  private started = NO_RUN;
  /** The lane of the last run, whose new state keep() would take. */
  private ran = NO_RUN;
  private closed = false;

  /** @param graph its tensors are those without the state; the model owns and closes it */
  constructor(
    private readonly graph: BoundGraph,
    private readonly states: LaneStates,
    private readonly lanes: number,
  ) {
    [this.inputs, this.outputs] = [graph.inputs, graph.outputs];
  }

  run(lane: number): void {
    this.start(lane);
    this.finish();
  }

  start(lane: number): void {
    this.check(lane);
    if (this.started !== NO_RUN) throw new TypeError(`lane ${this.started} has begun and not finished`);
    this.ran = NO_RUN;
    this.states.enter(lane);
    if (this.graph.begin === undefined) this.graph.execute();
    else this.graph.begin();
    this.started = lane;
  }

  finish(): void {
    const lane = this.started;
    if (lane === NO_RUN) throw new TypeError("nothing to finish: no run has begun");
    this.check(lane);
    this.started = NO_RUN;
    this.graph.end?.();
    this.ran = lane;
  }

  keep(): void {
    if (this.ran === NO_RUN) throw new TypeError("nothing to keep: no run since the last keep()");
    this.check(this.ran);
    this.states.keep(this.ran);
    this.ran = NO_RUN;
  }

  reset(lane: number): void {
    this.check(lane);
    this.states.reset(lane);
  }

  save(lane: number): Float32Array[] {
    this.check(lane);
    return this.states.save(lane);
  }

  restore(lane: number, state: readonly Float32Array[]): void {
    this.check(lane);
    const { lengths } = this.states;
    if (lengths.length !== state.length || lengths.some((length, i) => length !== state[i].length)) {
      throw new RangeError(`a state of [${state.map(({ length }) => length)}] values, not [${lengths}]`);
    }
    this.states.restore(lane, state);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.started !== NO_RUN) this.abandon();
    this.graph.close();
  }

  /** Waits for a run that has begun: what computes must not lose its memory. */
  private abandon(): void {
    try {
      this.graph.end?.();
    } catch {
      // nobody wants the result
    }
  }

  private check(lane: number): void {
    if (this.closed) throw new TypeError("the model is closed");
    if (!Number.isInteger(lane) || lane < 0 || lane >= this.lanes)
      throw new RangeError(`lane ${lane} of ${this.lanes}`);
  }
}

/**
 * Makes a model with states from a graph whose tensors all lie in this process. The state lies here between
 * runs, so a device that fails or vanishes cannot spoil it. The model owns the graph, which is also closed
 * when the states do not fit it.
 * @throws TtsError NPU_MODEL_INVALID
 */
export function openHostModel(graph: BoundGraph, { lanes, path, states }: NpuModelOptions): NpuModel {
  try {
    const pairs = statePairs(graph, states, path);
    const [given, taken] = [pairs.map(({ input }) => input), pairs.map(({ output }) => output)];
    const free: BoundGraph = {
      inputs: graph.inputs.filter((tensor) => !given.includes(tensor)),
      outputs: graph.outputs.filter((tensor) => !taken.includes(tensor)),
      execute: () => graph.execute(),
      begin: graph.begin?.bind(graph),
      end: graph.end?.bind(graph),
      close: () => graph.close(),
    };
    return new LanedModel(free, new HostStates(pairs, lanes), lanes);
  } catch (error) {
    graph.close();
    throw error;
  }
}

class HostStates implements LaneStates {
  readonly lengths: readonly number[];
  /** Bound tensors of each pair. */
  private readonly current: Float32Array[];
  private readonly next: Float32Array[];
  /** [lane][pair] */
  private readonly states: Float32Array[][];

  constructor(pairs: readonly { input: NpuTensor; output: NpuTensor }[], lanes: number) {
    this.current = pairs.map(({ input }) => input.data);
    this.next = pairs.map(({ output }) => output.data);
    this.lengths = this.current.map(({ length }) => length);
    this.states = Array.from({ length: lanes }, () => this.lengths.map((length) => new Float32Array(length)));
  }

  enter(lane: number): void {
    const state = this.states[lane];
    for (let i = 0; i < state.length; i++) this.current[i].set(state[i]);
  }

  keep(lane: number): void {
    const state = this.states[lane];
    for (let i = 0; i < state.length; i++) state[i].set(this.next[i]);
  }

  reset(lane: number): void {
    for (const values of this.states[lane]) values.fill(0);
  }

  save(lane: number): Float32Array[] {
    return this.states[lane].map((values) => values.slice());
  }

  restore(lane: number, state: readonly Float32Array[]): void {
    const own = this.states[lane];
    for (let i = 0; i < own.length; i++) own[i].set(state[i]);
  }
}

/** A tensor as a model describes it. */
interface Described {
  name: string;
  shape: readonly number[];
}

/**
 * The tensors of each pair.
 * @throws TtsError NPU_MODEL_INVALID when one is missing, or the two differ in size
 */
export function statePairs<T extends Described>(
  { inputs, outputs }: { inputs: readonly T[]; outputs: readonly T[] },
  pairs: readonly StatePair[],
  path: string,
): { input: T; output: T }[] {
  const shape = (tensor: T | undefined) => (tensor === undefined ? "is missing" : `is [${tensor.shape}]`);
  return pairs.map(([from, to]) => {
    const [input, output] = [
      inputs.find(({ name }) => name === from),
      outputs.find(({ name }) => name === to),
    ];
    if (input !== undefined && output !== undefined && elementsOf(input.shape) === elementsOf(output.shape))
      return { input, output };
    const what = `${path}: its state input ${from} ${shape(input)} and its next ${to} ${shape(output)}`;
    throw new TtsError("NPU_MODEL_INVALID", what, "build the model again from the graph of this version");
  });
}
