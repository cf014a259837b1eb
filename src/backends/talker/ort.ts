// The talker on ONNX Runtime. Keys and values are appended in place, because the graph gets the same memory
// as past and as present. Lanes that lie side by side move on in one run; its tensors are prepared once.

import {
  loadOnnxRuntime,
  OrtSession,
  OrtTensor,
  PreparedRun,
  type TensorData,
} from "../../../ffi/onnxruntime.ts";
import { PROMPT_PIECE_ROWS } from "../../config.ts";
import { type AlignmentHead, bundlePath } from "../../formats/bundle.ts";
import type { Backend, OpenOptions, Talker, TalkerMemory } from "../stage.ts";
import { headScores } from "./_attention.ts";
import { assertPiece, assertRoom } from "./_pieces.ts";

export const talkerOrt: Backend<Talker> = {
  name: "ort",
  file: "talkerOnnx",
  open: (options) => new OrtTalker(options),
};

/** A run over lanes side by side, with what it reads and writes. */
interface Turn {
  run: PreparedRun;
  /** i32 [lanes]: the position of each lane's row. */
  last: Int32Array;
  /** i32 [1]: the most positions of a lane after the run. */
  positions: Int32Array;
  tensors: OrtTensor[];
}

class OrtTalker implements Talker {
  readonly hidden: number;
  readonly codecVocabulary: number;
  readonly memoryKind: string;
  private readonly session: OrtSession;
  private readonly limit: number;
  private readonly layers: number;
  private readonly kvHeads: number;
  private readonly headDim: number;
  /** Keys and values of each layer, f32 [lanes, kvHeads, limit, headDim]. */
  private readonly caches: { name: string; data: Float32Array }[];
  /** Next position of each lane. */
  private readonly ends: Int32Array;
  private readonly input: Float32Array; // [lanes, hidden]
  private readonly states: Float32Array; // [lanes, hidden]
  private readonly logits: Float32Array; // [lanes, codec vocabulary]
  /** Of the watched head; empty without one. */
  private readonly query: Float32Array; // [lanes, headDim]: what the graph writes
  private readonly queries: Float32Array; // [lanes, headDim]: of each lane's last row
  private readonly alignment: AlignmentHead | null;
  /** By first lane and number of lanes. */
  private readonly turns = new Map<number, Turn>();

  constructor({ bundle, config, lanes }: OpenOptions) {
    const { version } = loadOnnxRuntime(config.libraries.onnxruntime);
    const { codecVocabulary, hidden, layers } = bundle.manifest.shape;
    [this.hidden, this.codecVocabulary, this.layers] = [hidden, codecVocabulary, layers];
    this.limit = config.contextPositions;
    const { steadyThreads: threads } = config;
    this.memoryKind = `ONNX Runtime ${version}, ${threads} threads, pieces of ${PROMPT_PIECE_ROWS}`;
    this.alignment = config.alignment ? bundle.manifest.alignment : null;
    if (this.alignment !== null) this.memoryKind += `, head ${this.alignment.layer}.${this.alignment.head}`;
    this.session = OrtSession.open(bundlePath(bundle, "talkerOnnx"), { threads });
    [this.kvHeads, this.headDim] = this.checkGraph();
    this.ends = new Int32Array(lanes);
    this.input = shared(lanes * hidden);
    this.states = shared(lanes * hidden);
    this.logits = shared(lanes * codecVocabulary);
    [this.query, this.queries] = [shared(lanes * this.queryWidth), shared(lanes * this.queryWidth)];
    const size = lanes * this.kvHeads * this.limit * this.headDim;
    this.caches = this.cacheNames().map((name) => ({ name, data: shared(size) }));
  }

  get isWatched(): boolean {
    return this.alignment !== null;
  }

  private get queryWidth(): number {
    return this.alignment?.width ?? 0;
  }

  scores(lane: number, from: number, count: number, target: Float32Array): void {
    const { caches, headDim, kvHeads, limit, queries } = this;
    const { keyHead, layer } = this.alignment!;
    const base = (lane * kvHeads + keyHead) * limit * headDim;
    const keys = caches[2 * layer].data;
    headScores(queries, lane * headDim, keys, base, headDim, from, count, target);
  }

  private cacheNames(): string[] {
    return Array.from({ length: this.layers }, (_, layer) => [`k.${layer}`, `v.${layer}`]).flat();
  }

  /** @returns [key heads, their width] */
  private checkGraph(): [number, number] {
    const { session } = this;
    try {
      session.expect("inputs", "x", "f32", [-1, -1, this.hidden]);
      session.expect("inputs", "last", "i32", [-1]);
      session.expect("inputs", "positions", "i32", [1]);
      session.expect("outputs", "hidden", "f32", [-1, this.hidden]);
      session.expect("outputs", "logits", "f32", [-1, this.codecVocabulary]);
      if (this.alignment !== null) session.expect("outputs", "query", "f32", [-1, this.alignment.width]);
      const { shape } = session.expect("inputs", "past.k.0", "f32", [-1, -1, -1, -1]);
      const [heads, dim] = [shape[1], shape[3]].map((size) => Math.min(Math.max(size, 1), 1_024));
      for (const name of this.cacheNames()) {
        session.expect("inputs", `past.${name}`, "f32", [-1, heads, -1, dim]);
        session.expect("outputs", `present.${name}`, "f32", [-1, heads, -1, dim]);
      }
      return [heads, dim];
    } catch (error) {
      session.close();
      throw error;
    }
  }

  assertFits(positions: number): void {
    assertRoom(positions, this.limit);
  }

  prefill(
    lane: number,
    rows: Float32Array,
    from: number,
    to: number,
    hidden: Float32Array,
    logits: Float32Array,
  ): boolean {
    if (from === 0) this.ends[lane] = 0;
    assertPiece(lane, this.ends[lane], from, to);
    const count = to - from;
    const turn = this.prepare(lane, 1, rows.subarray(from * this.hidden, to * this.hidden), count);
    turn.last[0] = to - 1;
    turn.positions[0] = to;
    turn.run.run();
    for (const tensor of turn.tensors) tensor.close();
    this.ends[lane] = to;
    this.read(0, lane, 0, hidden, logits);
    return true;
  }

  step(
    lanes: Int32Array,
    count: number,
    inputs: Float32Array,
    hidden: Float32Array,
    logits: Float32Array,
  ): boolean {
    let [first, last] = [lanes[0], lanes[0]];
    for (let row = 1; row < count; row++) {
      first = Math.min(first, lanes[row]);
      last = Math.max(last, lanes[row]);
    }
    const turn = this.turnOf(first, last - first + 1);
    // A lane between them that is not to move gets a row that nobody reads, in a place that is still free.
    turn.positions[0] = 0;
    for (let lane = first; lane <= last; lane++) {
      const at = Math.min(this.ends[lane], this.limit - 1);
      turn.last[lane - first] = at;
      turn.positions[0] = Math.max(turn.positions[0], at + 1);
    }
    for (let row = 0; row < count; row++)
      copy(this.input, (lanes[row] - first) * this.hidden, inputs, row * this.hidden, this.hidden);
    turn.run.run();
    for (let row = 0; row < count; row++) {
      this.ends[lanes[row]]++;
      this.read(lanes[row] - first, lanes[row], row, hidden, logits);
    }
    return true;
  }

  private read(row: number, lane: number, target: number, hidden: Float32Array, logits: Float32Array): void {
    const { codecVocabulary, hidden: width, queryWidth } = this;
    copy(this.queries, lane * queryWidth, this.query, row * queryWidth, queryWidth);
    copy(hidden, target * width, this.states, row * width, width);
    copy(logits, target * codecVocabulary, this.logits, row * codecVocabulary, codecVocabulary);
  }

  private turnOf(first: number, count: number): Turn {
    const key = first * this.ends.length + count;
    const turn = this.turns.get(key) ?? this.prepare(first, count, this.input, 1);
    this.turns.set(key, turn);
    return turn;
  }

  /** A run of `count` lanes from `first` on, with `rows` rows of each in `x`. */
  private prepare(first: number, count: number, x: Float32Array, rows: number): Turn {
    const tensors: OrtTensor[] = [];
    const tensor = (data: TensorData, shape: number[]) => {
      tensors.push(new OrtTensor(data, shape));
      return tensors[tensors.length - 1];
    };
    const last = new Int32Array(new SharedArrayBuffer(4 * count));
    const positions = new Int32Array(new SharedArrayBuffer(4));
    const inputs: Record<string, OrtTensor> = {
      x: tensor(x, [count, rows, this.hidden]),
      last: tensor(last, [count]),
      positions: tensor(positions, [1]),
    };
    const outputs: Record<string, OrtTensor> = {
      hidden: tensor(this.states, [count, this.hidden]),
      logits: tensor(this.logits, [count, this.codecVocabulary]),
    };
    if (this.alignment !== null) outputs.query = tensor(this.query, [count, this.queryWidth]);
    const laneSize = this.kvHeads * this.limit * this.headDim;
    for (const { name, data } of this.caches) {
      const cache = data.subarray(first * laneSize, (first + count) * laneSize);
      const shape = [count, this.kvHeads, this.limit, this.headDim];
      inputs[`past.${name}`] = outputs[`present.${name}`] = tensor(cache, shape);
    }
    return { run: new PreparedRun(this.session, inputs, outputs), last, positions, tensors };
  }

  /** All heads of all caches in order, each as f32 [positions, headDim]; then the watched head's query. */
  save(lane: number): TalkerMemory {
    const { queryWidth } = this;
    const positions = this.ends[lane];
    const size = this.layers * 2 * this.kvHeads * positions * this.headDim;
    const values = new Float32Array(size + queryWidth);
    copy(values, size, this.queries, lane * queryWidth, queryWidth);
    this.eachHead(lane, positions, (head, at) => values.set(head, at));
    return { positions, bytes: new Uint8Array(values.buffer) };
  }

  restore(lane: number, { bytes, positions }: TalkerMemory): boolean {
    this.assertFits(positions);
    this.ends[lane] = 0;
    const size = positions * this.headDim;
    const { queryWidth } = this;
    if (bytes.length !== 4 * (this.layers * 2 * this.kvHeads * size + queryWidth)) return false;
    const values = new Float32Array(new Uint8Array(bytes).buffer); // a part of a file may begin anywhere
    copy(this.queries, lane * queryWidth, values, values.length - queryWidth, queryWidth);
    this.eachHead(lane, positions, (head, at) => head.set(values.subarray(at, at + size)));
    this.ends[lane] = positions;
    return true;
  }

  private eachHead(lane: number, positions: number, visit: (head: Float32Array, at: number) => void): void {
    const [room, size] = [this.limit * this.headDim, positions * this.headDim];
    let at = 0;
    for (const { data } of this.caches) {
      for (let head = lane * this.kvHeads; head < (lane + 1) * this.kvHeads; head++, at += size)
        visit(data.subarray(head * room, head * room + size), at);
    }
  }

  close(): void {
    for (const { tensors } of this.turns.values()) for (const tensor of tensors) tensor.close();
    this.session.close();
  }
}

const shared = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));

/** A loop instead of set(subarray()): nothing is allocated per frame. */
function copy(target: Float32Array, to: number, source: Float32Array, from: number, count: number): void {
  for (let i = 0; i < count; i++) target[to + i] = source[from + i];
}
