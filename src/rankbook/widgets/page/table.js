// Columns of numbers, as the kernel sends them and for looking up.

/** Columns of numbers, which grow by doubling and never shrink */
export class Table {
  constructor(columns) {
    this.columns = columns;
    this.n = 0;
    for (const [name, Type] of Object.entries(columns)) this[name] = new Type(16);
  }

  reserve(n) {
    const [first] = Object.keys(this.columns);
    if (n <= this[first].length) return;
    const room = Math.max(n, 2 * this[first].length);
    for (const [name, Type] of Object.entries(this.columns)) {
      const old = this[name];
      this[name] = new Type(room);
      this[name].set(old);
    }
  }
}
