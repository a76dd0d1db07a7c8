// The elements around the picture.

export const KEYS =
  "Arrow left and right pan, plus and minus zoom, arrow up and down choose a rank, square " +
  "brackets step from collective to collective, page up and down show a cell, 0 fits everything, End follows the newest.";

export const HTML = `
  <div class="rbt-head">
    <p><span class="rbt-count"></span> <span class="rbt-flying"></span></p>
    <div class="rbt-tools">
      <button type="button" data-do="idle" aria-pressed="true"
        title="Draw time without collectives as a narrow break">Skip idle</button>
      <span class="rbt-pair">
        <button type="button" data-do="out" aria-label="Zoom out" title="Zoom out">−</button>
        <button type="button" data-do="in" aria-label="Zoom in" title="Zoom in">+</button>
      </span>
      <button type="button" data-do="fit" title="Show everything">Fit</button>
      <button type="button" data-do="latest" aria-pressed="true"
        title="Follow the last cell">Latest</button>
      <button type="button" class="rbt-help" aria-label="Keys" title="Keys">?</button>
    </div>
  </div>
  <ul class="rbt-legend" aria-label="Colours"></ul>
  <div class="rbt-chart">
    <canvas tabindex="0" role="application"></canvas>
    <p class="rbt-empty"></p>
  </div>
  <div class="rbt-foot">
    <p class="rbt-note"></p>
    <p class="rbt-clocks"></p>
  </div>
  <div class="rbt-card rbt-keys" popover><dl>
    <dt><kbd>←</kbd> <kbd>→</kbd></dt><dd>or drag: pan</dd>
    <dt><kbd>+</kbd> <kbd>−</kbd></dt><dd>or Ctrl and the wheel: zoom</dd>
    <dt><kbd>[</kbd> <kbd>]</kbd></dt><dd>the collective before, the next one</dd>
    <dt><kbd>↑</kbd> <kbd>↓</kbd></dt><dd>another rank</dd>
    <dt><kbd>Page up</kbd> <kbd>Page down</kbd></dt><dd>or click its name: a cell</dd>
    <dt><kbd>0</kbd></dt><dd>everything</dd>
    <dt><kbd>End</kbd></dt><dd>follow the newest</dd>
    <dt><kbd>Esc</kbd></dt><dd>choose nothing</dd>
  </dl></div>
  <p class="rbt-hidden" role="status" aria-live="polite"></p>
  <div class="rbt-card rbt-tip" popover="manual" hidden></div>`;
