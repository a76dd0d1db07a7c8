// Lines, areas and texts on a canvas.

/** Draws in the colours of a palette; subclasses decide what. */
export class Pen {
  constructor(ctx) {
    this.ctx = ctx;
    this.widths = new Map(); // of texts, in pixels
    this.palette = { key: "" };
  }

  widthOf(text, px = 11) {
    const key = px + text;
    if (!this.widths.has(key)) {
      if (this.widths.size > 2000) this.widths.clear();
      this.ctx.font = `${px}px ${this.palette.font}`;
      this.widths.set(key, this.ctx.measureText(text).width);
    }
    return this.widths.get(key);
  }

  text(text, x, y, { px = 11, colour = this.palette.text, alpha = 1, align = "left" } = {}) {
    const { ctx } = this;
    [ctx.font, ctx.textAlign, ctx.textBaseline] = [`${px}px ${this.palette.font}`, align, "middle"];
    [ctx.fillStyle, ctx.globalAlpha] = [colour, alpha];
    ctx.fillText(text, x, y + 0.5);
    ctx.globalAlpha = 1;
  }

  /** Text on stripes needs a background. */
  plate(text, x, y) {
    this.fill(this.palette.back, x - 3, y - 8, this.widthOf(text) + 6, 16);
    this.text(text, x, y);
  }

  fill(colour, x, y, width, height, alpha = 1) {
    const { ctx } = this;
    [ctx.fillStyle, ctx.globalAlpha] = [colour, alpha];
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
  }

  /** A bar whose end is not known */
  fray(colour, end, y, height) {
    for (let x = end + 1; x < end + 8; x += 3) this.fill(colour, x, y, 1, height);
  }

  path(points) {
    this.ctx.beginPath();
    for (const [x, y] of points) this.ctx.lineTo(x, y);
  }

  stroke(colour, width, alpha = 1) {
    const { ctx } = this;
    [ctx.strokeStyle, ctx.lineWidth, ctx.globalAlpha] = [colour, width, alpha];
    ctx.stroke();
    ctx.globalAlpha = 1;
  }
}
