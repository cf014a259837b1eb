// A model that is loaded on a card of AXCL: its file, the descriptions of its tensors, and its runs. Takes no
// memory for tensors.

import { TtsError } from "../../src/errors.ts";
import { Struct } from "../load/struct.ts";
import { ARRAYS, GROUP, IO_DIMS, TENSOR_TYPES, TYPE_F32 } from "./_axcl-abi.ts";
import type { ModelCalls } from "./_axcl-calls.ts";
import { textAt } from "./_library.ts";
import { withModelFile } from "./_model-file.ts";
import { elementsOf } from "./model.ts";

type Side = "Input" | "Output";

/** An f32 tensor as the model describes it. */
export interface CardTensor {
  side: Side;
  index: number;
  name: string;
  shape: number[];
  bytes: number;
}

const BYTES_LIMIT = 2n ** 32n;
/** While loading, the card holds both the file and the model made of it. */
const LOAD_FACTOR = 2;

export const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

export class CardModel {
  inputs: CardTensor[] = [];
  outputs: CardTensor[] = [];
  private id = 0n;
  private context = 0n;
  private info = 0n;
  private io = 0n;

  constructor(private readonly calls: ModelCalls) {}

  /**
   * After a failure, {@link unload} undoes what was done.
   * @throws TtsError NPU_MODEL_INVALID, NPU_UNAVAILABLE, LIBRARY_FAILED
   */
  load(): void {
    const { calls } = this;
    const { library } = calls;
    this.id = this.loadFile();
    calls.compiler = textAt(library.axclrtEngineGetModelCompilerVersion(this.id));
    this.context = calls.take("axclrtEngineCreateContext", (out) =>
      library.axclrtEngineCreateContext(this.id, out),
    );
    this.info = calls.take("axclrtEngineGetIOInfo", (out) => library.axclrtEngineGetIOInfo(this.id, out));
    const groups = new Int32Array(new ArrayBuffer(4));
    calls.check(
      "axclrtEngineGetShapeGroupsCount",
      library.axclrtEngineGetShapeGroupsCount(this.info, groups),
    );
    if (groups[0] !== 1)
      throw calls.refuse("graph", `has ${groups[0]} groups of shapes`, "build it again with fixed shapes");
    [this.inputs, this.outputs] = [this.describeSide("Input"), this.describeSide("Output")];
    this.io = calls.take("axclrtEngineCreateIO", (out) => library.axclrtEngineCreateIO(this.info, out));
  }

  /** @returns the model's id */
  private loadFile(): bigint {
    const { calls } = this;
    const { card, path } = calls;
    calls.bytes = withModelFile(path, (model) => model.length);
    const free = card.freeMemory();
    if (free !== null && free < LOAD_FACTOR * calls.bytes) {
      const what = `${path} needs about ${megabytes(LOAD_FACTOR * calls.bytes)} of the card's memory to be loaded, ${megabytes(free)} are free`;
      throw new TtsError(
        "NPU_UNAVAILABLE",
        what,
        "close other programs that use the card (axcl-smi shows them), or use a smaller model",
      );
    }
    const file = Buffer.from(`${path}\0`);
    const id = calls.take("axclrtEngineLoadFromFile", (out) =>
      calls.library.axclrtEngineLoadFromFile(file, out),
    );
    if (id !== 0n) return id;
    const what = `${path} was not loaded, though axclrtEngineLoadFromFile gave no error`;
    throw new TtsError(
      "NPU_MODEL_INVALID",
      what,
      `make the file readable and keep it in place; ${card.log.path} may say more`,
    );
  }

  private describeSide(side: Side): CardTensor[] {
    const count = this.calls.library[`axclrtEngineGetNum${side}s`](this.info);
    // a code, without its sign
    if (count >= 2 ** 31) this.calls.check(`axclrtEngineGetNum${side}s`, count | 0);
    return Array.from({ length: count }, (_, index) => this.describe(side, index));
  }

  /** @throws TtsError NPU_MODEL_INVALID */
  private describe(side: Side, index: number): CardTensor {
    const { calls, info } = this;
    const { library } = calls;
    const name = textAt(library[`axclrtEngineGet${side}NameByIndex`](info, index));
    const bytes = library[`axclrtEngineGet${side}SizeByIndex`](info, GROUP, index);
    if (bytes >= BYTES_LIMIT)
      calls.check(`axclrtEngineGet${side}SizeByIndex of ${name}`, Number(BigInt.asIntN(32, bytes)));
    const [dims, type] = [new Struct(IO_DIMS), new Int32Array(new ArrayBuffer(4))];
    calls.check(
      `axclrtEngineGet${side}Dims of ${name}`,
      library[`axclrtEngineGet${side}Dims`](info, GROUP, index, dims.bytes),
    );
    calls.check(
      `axclrtEngineGet${side}DataType of ${name}`,
      library[`axclrtEngineGet${side}DataType`](info, index, type),
    );
    const shape = Array.from(new Int32Array(dims.bytes.buffer, ARRAYS.dims[0], dims.get("dimCount")));
    const title = `${side.toLowerCase()} ${name} [${shape}]`;
    if (type[0] !== TYPE_F32) {
      throw calls.refuse(
        title,
        `is ${TENSOR_TYPES[type[0]] ?? `of type ${type[0]}`}`,
        "build it again with f32 inputs and outputs",
      );
    }
    if (bytes === 0n || bytes !== BigInt(4 * elementsOf(shape))) {
      throw calls.refuse(title, `has ${bytes} bytes`, "build it again with fixed shapes");
    }
    return { side, index, name, shape, bytes: Number(bytes) };
  }

  /** Sets where a tensor lies on the card from the next run on. @param about for errors */
  place({ bytes, index, side }: CardTensor, card: bigint, about = ""): void {
    const set = `axclrtEngineSet${side}BufferByIndex` as const;
    const code = this.calls.library[set](this.io, index, card, bytes);
    if (code !== 0) this.calls.check(set + about, code);
  }

  run(): void {
    this.calls.check(
      "axclrtEngineExecute",
      this.calls.library.axclrtEngineExecute(this.id, this.context, GROUP, this.io),
    );
  }

  /** Follows the order in AXCL's documents and ignores what the calls return: the card may be gone. */
  unload(): void {
    const { library } = this.calls;
    if (this.io !== 0n) library.axclrtEngineDestroyIO(this.io);
    if (this.info !== 0n) library.axclrtEngineDestroyIOInfo(this.info);
    if (this.id !== 0n) library.axclrtEngineUnload(this.id);
  }
}
