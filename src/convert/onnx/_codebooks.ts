// Turns codes into vectors: one row of each book, summed. Books that share no column need no sum: each keeps
// only the columns that it fills.

import type { Graph } from "../../formats/onnx.ts";
import { select } from "./_filter.ts";
import { reshape, slice } from "./layers.ts";

/** Some of the sixteen books, in sequence. */
export interface Books {
  /** Number of the first book, 0 to 15. */
  from: number;
  /** f32 [codes, width] each */
  vectors: readonly Float32Array[];
  width: number;
}

/** codes i32 [frames, 16] -> the sum of the books' vectors, [frames, width]; null where all of them are 0. */
export function sumOfBooks(g: Graph, codes: string, books: Books): string | null {
  const owners = ownersOf(books);
  if (owners === null) return denseSum(g, codes, books);
  const used = books.vectors.map((_, book) =>
    owners.flatMap((owner, column) => (owner === book ? [column] : [])),
  );
  const parts = used.flatMap((columns, book) => {
    if (columns.length === 0) return [];
    const values = columnsOf(books.vectors[book], books.width, columns);
    const ofBook = reshape(g, slice(g, codes, 1, books.from + book, books.from + book + 1), [-1]);
    return [g.op("Gather", [g.values(values, [values.length / columns.length, columns.length]), ofBook])];
  });
  if (parts.length === 0) return null;
  const side = parts.length === 1 ? parts[0] : g.op("Concat", parts, { axis: 1 });
  const places = used.flat();
  return select(g, side, {
    inputs: places.length,
    index: owners.map((owner, column) => (owner === NOBODY ? 0 : places.indexOf(column))),
    factors: Float32Array.from(owners, (owner) => (owner === NOBODY ? 0 : 1)),
    bias: new Float32Array(books.width),
  });
}

const NOBODY = -1;

/** Which book fills each column; null where two fill the same one. */
function ownersOf({ vectors, width }: Books): number[] | null {
  const owners = new Array<number>(width).fill(NOBODY);
  for (const [book, values] of vectors.entries()) {
    for (let at = 0; at < values.length; at++) {
      if (values[at] === 0) continue;
      const owner = owners[at % width];
      if (owner !== NOBODY && owner !== book) return null;
      owners[at % width] = book;
    }
  }
  return owners;
}

function columnsOf(values: Float32Array, width: number, columns: readonly number[]): Float32Array {
  return Float32Array.from({ length: (values.length / width) * columns.length }, (_, i) => {
    return values[Math.floor(i / columns.length) * width + columns[i % columns.length]];
  });
}

function denseSum(g: Graph, codes: string, { from, vectors, width }: Books): string {
  const size = vectors[0].length / width;
  const stacked = new Float32Array(vectors.length * vectors[0].length);
  for (const [book, values] of vectors.entries()) stacked.set(values, book * values.length);
  const offsets = g.ints(vectors.map((_, book) => book * size));
  const rows = g.op("Add", [
    g.op("Cast", [slice(g, codes, 1, from, from + vectors.length)], { to: 7 }),
    offsets,
  ]);
  // [frames, books, width]
  const found = g.op("Gather", [g.values(stacked, [vectors.length * size, width]), rows]);
  return g.op("ReduceSum", [found, g.ints([1])], { keepdims: 0 });
}
