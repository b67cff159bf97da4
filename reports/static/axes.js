// Scales, ticks and the frame of a chart.

function scale(low, high, start, end, log = false) {
  const f = log ? Math.log : (v) => v;
  const to = (v) => start + ((f(v) - f(low)) / (f(high) - f(low))) * (end - start);
  return Object.assign(to, {low, high, log});
}

function ticksOf(axis, wanted) {
  return axis.log ? logTicks(axis.low, axis.high) : linearTicks(axis.low, axis.high, wanted);
}

function linearTicks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++) {
    found.push(i * step);
  }
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const m of [1, 2, 5]) found.push(m * 10 ** p);
  }
  return found.filter((v) => v >= low * 0.999 && v <= high * 1.001).map((v) => Number(v.toPrecision(3)));
}

function tickLabel(value, all, log) {
  if (log) return String(value);
  for (let digits = 0; digits < 6; digits++) {
    if (all.every((t) => Math.abs(Number(t.toFixed(digits)) - t) < 1e-9)) {
      return value.toFixed(digits).replace(/^-0(\.0*)?$/, '0$1').replace('-', MINUS);
    }
  }
  return String(value);
}

// Grid, tick labels and titles; `x` and `y` are scales, `labelX` and `labelY` write a tick.
function frame(box, x, y, titles, labelX = null, labelY = null) {
  const [left, right, top, bottom] = box;
  const across = titles.ticksX ?? ticksOf(x, 7);
  const up = titles.ticksY ?? ticksOf(y, 8);
  const parts = [
    svg('g', {class: 'grid'},
      across.map((t) => svg('path', {d: `M${x(t).toFixed(1)} ${top}V${bottom}`})),
      up.map((t) => svg('path', {d: `M${left} ${y(t).toFixed(1)}H${right}`}))),
    svg('path', {class: 'axis', d: `M${left} ${bottom}H${right}`}),
    svg('g', {class: 'ticks'},
      across.map((t) => svg('text', {x: x(t).toFixed(1), y: bottom + 18, class: 'mid'},
        labelX ? labelX(t) : tickLabel(t, across, x.log))),
      up.map((t) => svg('text', {x: left - 8, y: (y(t) + 4).toFixed(1), class: 'end'},
        labelY ? labelY(t) : tickLabel(t, up, y.log)))),
  ];
  parts.push(
    svg('text', {x: left - 44, y: top - 10, class: 'name'}, titles.y,
      svg('tspan', {class: 'hint', dx: 8}, titles.hint ?? '')),
    svg('text', {x: right, y: bottom + 40, class: 'name end'}, titles.x));
  return parts;
}

const shapeOf = (place) => data.codecs[place].shape;
const classOf = (place) => data.codecs[place].look;

// Positions near the wanted ones, in order, `gap` apart.
function spreadOut(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((i, j) => wanted[i] - wanted[j]);
  const room = Math.min(gap, (high - low) / Math.max(1, order.length - 1));
  const at = order.map((i) => Math.min(Math.max(wanted[i], low), high));
  for (let round = 0; round < 300; round++) {
    let moved = 0;
    for (let k = 1; k < at.length; k++) {
      const missing = room - (at[k] - at[k - 1]);
      if (missing > 1e-3) {
        at[k - 1] -= missing / 2;
        at[k] += missing / 2;
        moved = Math.max(moved, missing);
      }
    }
    at.forEach((value, k) => {
      at[k] = Math.min(Math.max(value, low + k * room), high - (at.length - 1 - k) * room);
    });
    if (!moved) break;
  }
  const result = [];
  order.forEach((i, k) => { result[i] = at[k]; });
  return result;
}
