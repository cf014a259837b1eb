// ggml by itself: products of quantised matrices with a few rows, the threads that compute, the quantiser for
// single matrices. The libraries are those that loadLlama() opened. Pointers stay in ffi/.

import { type Pointer, read } from "bun:ffi";
import { TtsError } from "../src/errors.ts";
import { GGML_INIT_PARAMS, THREADPOOL_CORES, THREADPOOL_PARAMS } from "./_ggml-abi.ts";
import { cpuRegistry, library } from "./_llama-library.ts";
import { address, Pin } from "./load/memory.ts";
import { callByValue, Struct } from "./load/struct.ts";

/**
 * How a matrix is stored, with ggml's number for each. Rows of the last two are blocks of 32 elements with a
 * scale.
 */
const MATRIX_TYPE = { f32: 0, f16: 1, q4_0: 2, q8_0: 8 } as const;
export type MatrixType = keyof typeof MATRIX_TYPE;
const BLOCK = { f32: 1, f16: 1, q4_0: 32, q8_0: 32 } as const satisfies Record<MatrixType, number>;
const CPU_DEVICE = 0;

/** One matrix [rows, width], row-major. */
export interface Matrix {
  type: MatrixType;
  bytes: Uint8Array;
}

/** Bytes of a row, or null where a row of `width` elements is not made of whole blocks. */
export function rowBytes(type: MatrixType, width: number): number | null {
  return width % BLOCK[type] === 0 ? Number(library().base.ggml_row_size(MATRIX_TYPE[type], width)) : null;
}

/** `values` f32 [rows, width] in another type. */
export function quantizeRows(type: MatrixType, values: Float32Array, width: number): Uint8Array {
  const rows = values.length / width;
  const size = rowBytes(type, width);
  if (size === null || !Number.isInteger(rows))
    throw new RangeError(`${values.length} values are no rows of ${width} in ${type}`);
  const target = new Pin().bytes(rows * size);
  library().base.ggml_quantize_chunk(MATRIX_TYPE[type], values, target, 0, rows, width, null);
  return target;
}

/**
 * Threads that compute together with the one that made them, and sleep between graphs: another stage needs
 * the core.
 */
export class ThreadPool {
  readonly pointer: Pointer;

  /**
   * @param cores one for each thread, in which case none ever leaves its own: the thread that computes with
   * the pool gets the last one, the others the rest in their order. With more or fewer cores than threads the
   * kernel places them, within what the calling thread may use.
   */
  constructor(
    readonly threads: number,
    cores: readonly number[] = [],
  ) {
    const params = new Struct(THREADPOOL_PARAMS).set("nThreads", threads).set("poll", 0);
    if (cores.length === threads && cores.every((core) => core < THREADPOOL_CORES)) {
      params.set("strictCpu", 1);
      for (const core of cores) params.bytes[core] = 1;
    }
    const pointer = library().cpu.ggml_threadpool_new(params.bytes) as Pointer | null;
    if (pointer === null)
      throw new TtsError("LIBRARY_FAILED", `ggml made no pool of ${threads} threads`, "use {threads} 1");
    this.pointer = pointer;
  }

  /** Close what computes on it first: freeing a pool that a live context has used is a use after free. */
  close(): void {
    library().cpu.ggml_threadpool_free(this.pointer);
  }
}

export interface MatrixProductsOptions {
  rows: number;
  width: number;
  /** Input rows that one product may take. */
  lanes: number;
  /** null: the calling thread computes alone. The pool outlives the products. */
  pool: ThreadPool | null;
}

/**
 * Matrices of one shape, each of which is multiplied with up to `lanes` rows at once. Weights are copied;
 * every graph is built at opening, so that a product costs nothing but the product. Used by one thread.
 */
export class MatrixProducts {
  /** f32 [lanes, width], to be written before a product. */
  readonly input: Float32Array;
  /** f32 [lanes, rows] of the last product. */
  readonly output: Float32Array;
  private readonly pin = new Pin();
  private readonly lanes: number;
  private readonly backend: Pointer;
  private readonly contexts: Pointer[] = [];
  private readonly buffers: Pointer[] = [];
  /** [matrix][count - 1] */
  private readonly graphs: Pointer[];

  /**
   * @throws RangeError for a matrix of another size: ggml would end the process
   * @throws TtsError LIBRARY_FAILED
   */
  constructor(matrices: readonly Matrix[], { rows, width, lanes, pool }: MatrixProductsOptions) {
    checkSizes(matrices, rows, width);
    this.lanes = lanes;
    this.input = this.pin.floats(lanes * width);
    this.output = this.pin.floats(lanes * rows);
    this.backend = openCpu(pool);
    try {
      const weights = this.upload(matrices, rows, width);
      this.graphs = this.build(weights, width);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** How many threads of the pool compute from now on. */
  useThreads(count: number): void {
    library().cpu.ggml_backend_set_n_threads(this.backend, count);
  }

  /** output[lane] = matrix `matrix` times input[lane], for the first `count` lanes. */
  run(matrix: number, count: number): void {
    const graph =
      count >= 1 && count <= this.lanes ? this.graphs[matrix * this.lanes + count - 1] : undefined;
    if (graph === undefined)
      throw new RangeError(`no product of matrix ${matrix} with ${count} rows was prepared`);
    const status = library().base.ggml_backend_graph_compute(this.backend, graph);
    if (status !== 0)
      throw new TtsError(
        "LIBRARY_FAILED",
        `ggml could not multiply matrix ${matrix} with ${count} rows: status ${status}`,
      );
  }

  close(): void {
    const { base } = library();
    for (const buffer of this.buffers.splice(0)) base.ggml_backend_buffer_free(buffer);
    for (const context of this.contexts.splice(0)) base.ggml_free(context);
    base.ggml_backend_free(this.backend);
  }

  /**
   * Copies the matrices into memory of ggml, in the order of elements that is fastest here (measured: a third
   * faster than as they lie).
   * @returns a tensor for each
   */
  private upload(matrices: readonly Matrix[], rows: number, width: number): Pointer[] {
    const { base } = library();
    for (const memory of memoryTypes(this.backend)) {
      const context = this.context(2 * matrices.length + 1, 0);
      const tensors = matrices.map(
        ({ type }) => base.ggml_new_tensor_2d(context, MATRIX_TYPE[type], width, rows) as Pointer,
      );
      const buffer = base.ggml_backend_alloc_ctx_tensors_from_buft(context, memory) as Pointer | null;
      if (buffer === null) continue;
      this.buffers.push(buffer);
      // Filling memory that does not support a type would end the process.
      const row = base.ggml_new_tensor_2d(context, MATRIX_TYPE.f32, width, 1);
      const taken = tensors.every((tensor) =>
        base.ggml_backend_supports_op(this.backend, base.ggml_mul_mat(context, tensor, row)),
      );
      if (taken) {
        matrices.forEach(({ bytes }, i) => {
          base.ggml_backend_tensor_set(tensors[i], bytes, 0, bytes.length);
        });
        return tensors;
      }
      base.ggml_backend_buffer_free(this.buffers.pop()!);
    }
    throw outOfMemory(`${matrices.length} matrices [${rows}, ${width}]`);
  }

  /**
   * A graph for each matrix and count. All inputs lie in `input` and all results in `output`: nothing is
   * copied.
   */
  private build(weights: readonly Pointer[], width: number): Pointer[] {
    const { base } = library();
    const context = this.context(this.lanes * (1 + weights.length), this.lanes * weights.length);
    const place = (tensor: unknown, buffer: Pointer, floats: Float32Array) => {
      base.ggml_backend_tensor_alloc(buffer, tensor as Pointer, address(floats) as Pointer);
      return tensor as Pointer;
    };
    const [input, output] = [this.bufferOver(this.input), this.bufferOver(this.output)];
    const inputs = Array.from({ length: this.lanes }, (_, lane) => {
      return place(base.ggml_new_tensor_2d(context, MATRIX_TYPE.f32, width, lane + 1), input, this.input);
    });
    return weights.flatMap((weight) => {
      return inputs.map((rows) => {
        const product = place(base.ggml_mul_mat(context, weight, rows), output, this.output);
        const graph = base.ggml_new_graph_custom(context, GRAPH_NODES, false) as Pointer;
        base.ggml_build_forward_expand(graph, product);
        return graph;
      });
    });
  }

  /** Room for descriptions of tensors and graphs; data lies elsewhere. */
  private context(tensors: number, graphs: number): Pointer {
    const { base } = library();
    const bytes =
      tensors * Number(base.ggml_tensor_overhead()) +
      graphs * Number(base.ggml_graph_overhead_custom(GRAPH_NODES, false));
    const params = new Struct(GGML_INIT_PARAMS).set("memSize", bytes).set("noAlloc", 1);
    const context = callByValue(base.ggml_init as never, [], params) as Pointer | null;
    if (context === null) throw outOfMemory(`${graphs} graphs`);
    this.contexts.push(context);
    return context;
  }

  private bufferOver(floats: Float32Array): Pointer {
    const buffer = library().base.ggml_backend_cpu_buffer_from_ptr(floats, floats.byteLength) as Pointer;
    this.buffers.push(buffer);
    return buffer;
  }
}

/** Weight, input and product. */
const GRAPH_NODES = 3;

function openCpu(pool: ThreadPool | null): Pointer {
  const { cpu, ggml } = library();
  const backend = ggml.ggml_backend_init_by_type(CPU_DEVICE, null) as Pointer | null;
  if (backend === null) throw outOfMemory("a backend");
  cpu.ggml_backend_set_n_threads(backend, pool?.threads ?? 1);
  if (pool !== null) cpu.ggml_backend_cpu_set_threadpool(backend, pool.pointer);
  return backend;
}

/** Kinds of memory for weights: first those that order elements for this processor, then the plain one. */
const memoryTypes = (backend: Pointer): Pointer[] => [
  ...orderingTypes(),
  library().base.ggml_backend_get_default_buffer_type(backend) as Pointer,
];

/** Kinds of memory in which the CPU code keeps weights in an order of its own. */
export function orderingTypes(): Pointer[] {
  const { base, cpu } = library();
  const list = cpu.ggml_backend_dev_get_extra_bufts(base.ggml_backend_reg_dev_get(cpuRegistry(), 0));
  return pointersAt(list as Pointer);
}

/** A list of pointers that ends with null. */
function pointersAt(list: Pointer): Pointer[] {
  const found: Pointer[] = [];
  for (let at = 0; read.ptr(list, at) !== 0; at += 8) found.push(read.ptr(list, at) as Pointer);
  return found;
}

function checkSizes(matrices: readonly Matrix[], rows: number, width: number): void {
  for (const { type, bytes } of matrices) {
    const size = rowBytes(type, width);
    if (size !== null && bytes.length === rows * size) continue;
    throw new RangeError(`${bytes.length} bytes are no ${type} matrix [${rows}, ${width}]`);
  }
}

const outOfMemory = (what: string) =>
  new TtsError("LIBRARY_FAILED", `ggml has no memory for ${what}`, "close other programs");
