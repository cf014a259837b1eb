// Copies rows between dense f32 tensors and memory that a vendor's library reads, whose rows may be longer or
// whose values may be f16. Everything is made when a model is opened: a run allocates nothing.

type Values = Float32Array | Float16Array;

export class RowCopies {
  private readonly copies: { from: Values; to: Values }[] = [];

  /**
   * Adds all rows of a tensor. Both sides have equally many.
   * @param fromLength values from the start of a row to that of the next one; of the shorter of two rows,
   * all values are copied
   */
  add(from: Values, fromLength: number, to: Values, toLength: number): void {
    const width = Math.min(fromLength, toLength);
    if (fromLength === toLength) this.copies.push({ from, to });
    else
      for (let row = 0; row < from.length / fromLength; row++)
        this.copies.push({
          from: from.subarray(row * fromLength, row * fromLength + width),
          to: to.subarray(row * toLength, row * toLength + width),
        });
  }

  run(): void {
    for (let i = 0; i < this.copies.length; i++) this.copies[i].to.set(this.copies[i].from);
  }
}
