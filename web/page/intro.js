// Shown until the lab is ready, or in place of it without WebGPU: a recorded gradient going through SinkGD's ten
// passes. The gradient is read from recorded.bin (made by web/tests/record.mjs); everything else is computed here, live.
//
// A pass multiplies each row, or each column, by a positive number. So the matrix is always G scaled by one factor per
// row and one per column, and an animation interpolates these factors.
//
// Tests can read the object `multinormIntro`: `pass`, the number of passes done, and `deviation`, for 0 to `pass`
// passes the root mean square of |length/target − 1| over the rows (`rows`) and over the columns (`columns`), as in the
// lab.

const PASSES = 10;
const WITHIN = 0.01; // relative distance from its target at which a row or column counts as balanced
const MOST = 2.5; // maximum of the colour scale, in root mean squares, and of the bars, in targets

const FIRST_MS = 900;
const LAST_MS = 5000;
const BACK_MS = 700;
const CALM_MS = 2000; // per pass, for users who prefer reduced motion
// Later passes change less, so they are shown faster.
const tweenMs = (pass) => [1700, 1700, 1100, 1100, 800, 800][pass - 1] ?? 600;
const restMs = (pass) => [700, 700, 450, 450][pass - 1] ?? 300;
const SWEEP = 0.2; // share of a tween taken by a single row or column

// Computing a pass may take longer than a frame: limit how far the clock advances.
const LONGEST_FRAME_MS = 60;

const byId = (id) => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const dark = matchMedia('(prefers-color-scheme: dark)');
const watch = { pass: 0, deviation: [] };
window.multinormIntro = watch;

// The mathematics.

// G: [rows, columns] in Float64, scaled to a root mean square of 1, which every pass preserves.
async function recorded() {
  const [about, bytes] = await Promise.all([
    fetch('recorded.json').then((response) => response.json()),
    fetch('recorded.bin').then((response) => response.arrayBuffer()),
  ]);
  const [rows, columns] = about.shape;
  const view = new DataView(bytes);
  const entries = Float64Array.from({ length: rows * columns }, (_, at) => view.getInt16(2 * at, true));
  const rms = Math.sqrt(entries.reduce((sum, entry) => sum + entry * entry, 0) / entries.length);
  return { about, rows, columns, entries: entries.map((entry) => entry / rms) };
}

const unscaled = ({ rows, columns }) => ({ rows: new Float64Array(rows).fill(1), columns: new Float64Array(columns).fill(1) });

// X = diag(scale.rows) · G · diag(scale.columns).
function scaled({ rows, columns, entries }, scale) {
  const out = new Float64Array(entries.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const at = row * columns + column;
      out[at] = entries[at] * scale.rows[row] * scale.columns[column];
    }
  }
  return out;
}

// The L2 norms of rows and columns divided by their targets, √columns and √rows.
function lengths({ rows, columns }, entries) {
  const squares = { rows: new Float64Array(rows), columns: new Float64Array(columns) };
  entries.forEach((entry, at) => {
    squares.rows[Math.floor(at / columns)] += entry * entry;
    squares.columns[at % columns] += entry * entry;
  });
  return {
    rows: squares.rows.map((sum) => Math.sqrt(sum / columns)),
    columns: squares.columns.map((sum) => Math.sqrt(sum / rows)),
  };
}

// The factors after scaling every row (if `side` is 'rows') or every column to its target. A zero row stays zero.
function balanced(matrix, scale, side) {
  const now = lengths(matrix, scaled(matrix, scale))[side];
  return { ...scale, [side]: scale[side].map((factor, at) => (now[at] > 0 ? factor / now[at] : factor)) };
}

// The root mean square of |length/target − 1|.
const deviation = (some) => Math.sqrt(some.reduce((sum, length) => sum + (length - 1) ** 2, 0) / some.length);

// Interpolates between two lists of factors, linearly in their logarithms; `share(at)` is the progress of each.
const between = (from, to, share) => from.map((factor, at) => factor * (to[at] / factor) ** share(at));

// The story as a sequence of scenes: how long each lasts, and what to draw at a given share of it.

function* story(matrix, stage) {
  const wait = (ms) => ({ ms, at: () => {} });
  for (;;) {
    let scale = unscaled(matrix);
    const start = lengths(matrix, scaled(matrix, scale)).columns;
    watch.pass = 0;
    watch.deviation = [];
    const done = (pass) => {
      const now = lengths(matrix, scaled(matrix, scale));
      watch.pass = pass;
      watch.deviation = [...watch.deviation, { rows: deviation(now.rows), columns: deviation(now.columns) }];
      stage.show(scale);
      stage.chart(watch.deviation);
    };
    done(0);
    const ratio = Math.max(...start) / Math.min(...start);
    stage.say('A gradient.', `Its longest column is ${Math.round(ratio / 10) * 10} times as long as its shortest.`);
    yield wait(calm.matches ? CALM_MS : FIRST_MS);
    for (let pass = 1; pass <= PASSES; pass += 1) {
      const side = pass % 2 === 1 ? 'rows' : 'columns';
      const from = scale[side];
      stage.say(`Pass ${pass} of ${PASSES}.`, `Every ${side === 'rows' ? 'row' : 'column'} is rescaled to the same length.`);
      stage.chart(watch.deviation, pass);
      scale = balanced(matrix, scale, side);
      if (!calm.matches) {
        const reached = (share) => (at) => eased((share * (1 + SWEEP) - at / from.length) / SWEEP);
        const at = (share) => stage.show({ ...scale, [side]: between(from, scale[side], reached(share)) }, { side, share });
        yield { ms: tweenMs(pass), at };
      }
      done(pass);
      yield wait(calm.matches ? CALM_MS : restMs(pass));
    }
    stage.say('After five rounds, every row has the same length, and so does every column.');
    yield wait(LAST_MS);
    if (!calm.matches) {
      const end = scale;
      const first = unscaled(matrix);
      const back = (share) => ({
        rows: between(end.rows, first.rows, () => eased(share)), columns: between(end.columns, first.columns, () => eased(share)),
      });
      yield { ms: BACK_MS, at: (share) => stage.show(back(share)) };
    }
  }
}

function eased(share) {
  const within = Math.min(1, Math.max(0, share));
  return within * within * (3 - 2 * within);
}

// Plays the scenes by the display's clock.
function player(scenes) {
  let [scene, elapsed, last, frame] = [scenes.next().value, 0, null, null];
  const tick = (now) => {
    elapsed += Math.min(LONGEST_FRAME_MS, now - (last ?? now));
    last = now;
    scene.at(Math.min(1, elapsed / scene.ms));
    if (elapsed >= scene.ms) { [scene, elapsed] = [scenes.next().value, 0]; }
    frame = requestAnimationFrame(tick);
  };
  return {
    plays: () => frame !== null,
    play() { last = null; frame = requestAnimationFrame(tick); },
    pause() { cancelAnimationFrame(frame); frame = null; },
  };
}

// Drawing. Both pictures remember what they showed last, to redraw it in another size or theme.

function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ['surface', 'panel', 'text', 'secondary', 'grid', 'accent', 'settled', 'rows', 'columns', 'positive', 'negative'];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// A context in CSS pixels, on a canvas in device pixels.
function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    [canvas.width, canvas.height] = [wide, high];
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// The colours from −1 to 1 in 511 steps, as bytes.
function ramp({ negative, surface, positive }) {
  const [low, zero, high] = [negative, surface, positive].map(channels);
  return Array.from({ length: 511 }, (_, at) => {
    const value = at / 255 - 1;
    const end = value < 0 ? low : high;
    return zero.map((channel, which) => Math.round(channel + Math.abs(value) * (end[which] - channel)));
  });
}

class MatrixPicture {
  constructor(canvas, matrix) {
    [this.canvas, this.matrix] = [canvas, matrix];
    this.cells = new OffscreenCanvas(matrix.columns, matrix.rows);
    this.shown = [unscaled(matrix)];
  }

  // The layout in CSS pixels: cells of whole device pixels, with bars to the right and below.
  layout() {
    const { rows, columns } = this.matrix;
    const width = this.canvas.parentElement.clientWidth;
    const bars = Math.max(48, Math.min(144, Math.round(width / 8.5)));
    const gap = Math.round(bars / 10);
    const edge = 9; // space for the marker
    const ratio = window.devicePixelRatio || 1;
    const cell = Math.max(1, Math.floor(((width - edge - bars - gap) * ratio) / columns)) / ratio;
    const high = Math.max(cell, 6); // for wide matrices on a phone
    return { width, edge, gap, bars, cell, high, right: edge + columns * cell, bottom: edge + rows * high };
  }

  // `active` describes the pass in progress: its `side`, and the `share` that is done.
  show(scale, active) {
    this.shown = [scale, active];
    const { matrix, palette } = this;
    const place = this.layout();
    const { width, edge, right, bottom, gap, bars, cell, high } = place;
    const context = sized(this.canvas, width, bottom + gap + bars);
    const entries = scaled(matrix, scale);
    const now = lengths(matrix, entries);

    const small = this.cells.getContext('2d');
    const image = small.createImageData(matrix.columns, matrix.rows);
    entries.forEach((entry, at) => {
      const step = Math.round(255 + 255 * Math.max(-1, Math.min(1, entry / MOST)));
      image.data.set(this.ramp[step], 4 * at);
      image.data[4 * at + 3] = 255;
    });
    small.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.cells, edge, edge, right - edge, bottom - edge);
    context.strokeStyle = palette.grid;
    context.strokeRect(edge - 0.5, edge - 0.5, right - edge + 1, bottom - edge + 1);

    this.bars(context, 'rows', now.rows, high, [right + gap, edge], bars);
    this.bars(context, 'columns', now.columns, cell, [edge, bottom + gap], bars);
    if (active) { this.band(context, active, place); }
  }

  // Lengths as bars pointing away from the matrix, with a line at the target. A bar that does not fit gets a notch.
  bars(context, side, some, thick, [left, top], space) {
    const { palette } = this;
    const along = (at, from, to, breadth) => (side === 'rows'
      ? context.fillRect(left + from, top + at * thick, to - from, breadth)
      : context.fillRect(left + at * thick, top + from, breadth, to - from));
    const breadth = thick > 4 ? thick - 1 : thick * 0.8;
    some.forEach((length, at) => {
      context.fillStyle = Math.abs(length - 1) < WITHIN ? palette.settled : palette[side];
      along(at, 0, Math.min(1, length / MOST) * space, breadth);
      if (length > MOST) {
        context.fillStyle = palette.surface;
        along(at, space - 7, space - 4, breadth);
      }
    });
    context.fillStyle = palette.text;
    const target = Math.round(space / MOST);
    along(0, target - 0.75, target + 0.75, some.length * thick);
  }

  // Outlines the rows or columns being rescaled, with a marker at the edge.
  band(context, { side, share }, { edge, right, bottom, gap, bars, cell, high }) {
    const { rows, columns } = this.matrix;
    const [count, thick] = side === 'rows' ? [rows, high] : [columns, cell];
    const end = share * (1 + SWEEP) * count;
    const from = edge + Math.max(0, Math.floor(end - SWEEP * count)) * thick;
    const to = edge + Math.min(count, Math.ceil(end)) * thick;
    if (to <= from) { return; }
    context.strokeStyle = this.palette[side];
    context.fillStyle = this.palette[side];
    context.lineWidth = 1.5;
    const far = (side === 'rows' ? right : bottom) + gap + bars - 1;
    const middle = (from + to) / 2;
    const marker = [[0, middle - 5], [7, middle], [0, middle + 5]];
    context.beginPath();
    if (side === 'rows') {
      context.strokeRect(edge - 1, from, far - edge + 1, to - from);
      marker.forEach(([x, y]) => context.lineTo(x, y));
    } else {
      context.strokeRect(from, edge - 1, to - from, far - edge + 1);
      marker.forEach(([y, x]) => context.lineTo(x, y));
    }
    context.fill();
    context.lineWidth = 1;
  }

  again() {
    this.palette = colours();
    this.ramp = ramp(this.palette);
    this.show(...this.shown);
  }
}

// Deviations of rows and columns by pass, on a logarithmic axis, with the lab's colours and markers.
class ConvergencePicture {
  constructor(canvas) {
    this.canvas = canvas;
    this.shown = [[]];
  }

  show(deviations, running) {
    this.shown = [deviations, running];
    const { palette, height } = this;
    const width = this.canvas.parentElement.clientWidth;
    const context = sized(this.canvas, width, height);
    const [left, right, top, bottom] = [54, width - 8, 10, height - 40];
    const x = (pass) => left + 8 + (pass / PASSES) * (right - left - 16);
    const [most, least] = [0, -4]; // powers of ten
    const y = (value) => top + ((most - Math.log10(value)) / (most - least)) * (bottom - top);

    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = palette.panel;
    context.fillRect(left, top, right - left, bottom - top);
    context.textBaseline = 'middle';
    context.textAlign = 'center';
    for (let pass = 0; pass <= PASSES; pass += 1) {
      const current = pass === (running ?? deviations.length - 1);
      context.fillStyle = current ? palette.accent : palette.grid;
      context.fillRect(Math.round(x(pass)), top, 1, bottom - top);
      context.fillStyle = current ? palette.text : palette.secondary;
      context.fillText(String(pass), x(pass), bottom + 13);
    }
    context.fillStyle = palette.secondary;
    context.fillText('passes done', (left + right) / 2, bottom + 31);
    context.textAlign = 'right';
    for (let power = least; power <= most; power += 1) {
      const at = Math.round(y(10 ** power));
      context.fillStyle = 10 ** power === WITHIN ? palette.secondary : palette.grid;
      context.fillRect(left, at, right - left, 1);
      context.fillStyle = palette.secondary;
      context.fillText(`${Number((100 * 10 ** power).toPrecision(1))} %`, left - 8, at);
    }
    context.textAlign = 'left';
    context.fillStyle = palette.panel;
    context.fillRect(left + 8, y(WITHIN) + 3, context.measureText('within 1 %').width, 18);
    context.fillStyle = palette.secondary;
    context.fillText('within 1 %', left + 8, y(WITHIN) + 13);

    // A side that a pass has just made exact cannot be shown on a log axis.
    const drawn = (side) => deviations.map((point, pass) => [x(pass), point[side]]).filter(([, value]) => value >= 10 ** least);
    for (const side of ['rows', 'columns']) {
      const points = drawn(side).map(([at, value]) => [at, y(value)]);
      context.strokeStyle = palette[side];
      context.fillStyle = palette[side];
      context.lineWidth = 2;
      context.beginPath();
      points.forEach(([across, down]) => context.lineTo(across, down));
      context.stroke();
      context.lineWidth = 1;
      for (const [across, down] of points) {
        context.beginPath();
        if (side === 'rows') { context.rect(across - 4, down - 4, 8, 8); } else { triangle(context, across, down); }
        context.fill();
      }
    }
  }

  again() {
    this.palette = colours();
    // As tall as the matrix beside it.
    this.height = Math.max(220, Math.min(520, byId('matrix').clientHeight));
    this.show(...this.shown);
  }
}

function triangle(context, x, y) {
  context.moveTo(x, y - 6);
  context.lineTo(x + 5.5, y + 4);
  context.lineTo(x - 5.5, y + 4);
}

// The page.

let running = null;

// Stops the demonstration when the lab replaces it.
export function leave() {
  running?.pause();
  running = null;
}

async function begin() {
  const matrix = await recorded();
  const { about, rows, columns } = matrix;
  byId('recorded').textContent = `${rows} × ${columns}, training step ${about.step} of a small language model`;
  byId('recorded').title = about.name;
  const pictures = { matrix: new MatrixPicture(byId('matrix'), matrix), chart: new ConvergencePicture(byId('convergence')) };
  const again = () => { pictures.matrix.again(); pictures.chart.again(); };
  again();
  byId('figure').classList.add('drawn');
  const stage = {
    show: (scale, active) => pictures.matrix.show(scale, active),
    chart: (deviations, pass) => pictures.chart.show(deviations, pass),
    say: (strong, rest = '') => { byId('pass').textContent = strong; byId('deed').textContent = rest; },
  };
  running = player(story(matrix, stage));
  const button = byId('play');
  const toggle = () => {
    if (!running) { return; }
    if (running.plays()) { running.pause(); } else { running.play(); }
    button.textContent = running.plays() ? 'Pause' : 'Play';
  };
  button.addEventListener('click', toggle);
  for (const canvas of [byId('matrix'), byId('convergence')]) { canvas.addEventListener('click', toggle); }
  new ResizeObserver(again).observe(byId('figure'));
  dark.addEventListener('change', again);
  running.play();
}

// If this fails, the lab still works.
begin().catch((error) => { byId('figure').hidden = true; console.warn('the recorded gradient cannot be shown:', error); });
