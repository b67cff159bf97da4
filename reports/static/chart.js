// A chart of curves: points with their figures under pointer and keyboard, names at the ends.

const HEIGHT = 470;

// `chart`: {title, x: {low, high, log, title}, y: {low, high, log, title, hint, label},
//   curves: [{name, look, shape, heavy, points: [{x, y, text}], band: [[x, low, high]]}],
//   grey: [{name, points: [[x, y]]}], marks: [{at, text}], zero: bool}
function drawChart(host, chart) {
  const wide = Math.max(320, Math.min(860, host.clientWidth || 860));
  const roomy = wide >= 640;
  const left = 62;
  const right = wide - (roomy ? 216 : 14);
  const box = [left, right, 26, HEIGHT - 52];
  const x = scale(chart.x.low, chart.x.high, left, right, chart.x.log);
  const y = scale(chart.y.low, chart.y.high, box[3], box[2], chart.y.log);
  const clip = `clip-${host.id}`;
  const inside = (px) => px >= left - 1 && px <= right + 1;
  const path = (points) => 'M' + points.map((p) => `${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join('L');
  const drawing = svg('svg', {viewBox: `0 0 ${wide} ${HEIGHT}`, class: 'rd live', role: 'group',
    'aria-label': `${chart.title}. Arrow keys go along the curves.`},
  svg('clipPath', {id: clip}, svg('rect', {x: left, y: box[2], width: right - left, height: box[3] - box[2]})),
  frame(box, x, y, {x: chart.x.title, y: chart.y.title, hint: chart.y.hint,
    ticksX: roomy ? undefined : ticksOf(x, 5), ticksY: chart.y.ticks}, null, chart.y.label));

  const marks = (chart.marks ?? []).filter((m) => m.at > chart.x.low && m.at < chart.x.high);
  for (const mark of marks) {
    drawing.append(svg('path', {class: 'budget', d: `M${x(mark.at).toFixed(1)} ${box[2]}V${box[3]}`},
      svg('title', {}, mark.text)));
  }
  if (marks.length) {
    drawing.append(svg('text', {class: 'plain', x: x(marks.at(-1).at) + 5, y: box[3] - 7},
      `CLIC ${marks.map((m) => m.at).join(', ')}`));
  }
  if (chart.zero) drawing.append(svg('path', {class: 'axis', d: `M${left} ${y(chart.zero).toFixed(1)}H${right}`}));

  const body = svg('g', {'clip-path': `url(#${clip})`});
  for (const one of chart.grey ?? []) {
    body.append(svg('g', {class: 'published'}, svg('path', {d: path(one.points)},
      svg('title', {}, `${one.name}, published, not measured here`))));
  }
  for (const curve of chart.curves) {
    if (curve.band?.length) {
      const there = curve.band.map(([at, low]) => [at, low]);
      const back = curve.band.map(([at, , high]) => [at, high]).reverse();
      body.append(svg('path', {class: `band ${curve.look}`, d: path([...there, ...back]) + 'z'}));
    }
  }
  for (const curve of chart.curves) {
    body.append(svg('path', {class: `curve ${curve.look}${curve.heavy ? ' heavy' : ''}${curve.thin ? ' thin' : ''}`,
      d: path(curve.points.map((p) => [p.x, p.y]))}));
  }
  drawing.append(body);

  const points = [];
  chart.curves.forEach((curve, row) => {
    const group = svg('g', {class: `mark ${curve.look}`});
    curve.points.forEach((point, place) => {
      const at = [x(point.x), y(point.y)];
      if (!inside(at[0])) return;
      const node = svg('path', {transform: `translate(${at[0].toFixed(1)} ${at[1].toFixed(1)})`,
        d: curve.shape, role: 'img', tabindex: points.length ? -1 : 0,
        'aria-label': `${curve.name}, ${point.text.join(', ')}`});
      points.push({node, at, row, place, curve, point});
      if (point.outlined) node.classList.add('outlined');
      if (!point.hidden) group.append(node);
      else group.append(fill(node, {class: 'faint'}, []));
    });
    drawing.append(group);
  });
  if (roomy) drawing.append(...namesAtEnds(chart, box, x, y));

  const tip = el('div', {class: 'tip', hidden: true, 'aria-hidden': 'true'});
  host.replaceChildren(drawing, tip);
  explore(host, drawing, tip, points, wide);
}

function namesAtEnds(chart, [, right, top, bottom], x, y) {
  const clamp = (value) => Math.min(Math.max(value, top), bottom);
  const ends = [
    ...chart.curves.filter((c) => c.points.length).map((c) => {
      const last = c.points.reduce((a, b) => (b.x > a.x ? b : a));
      return {...c, at: [x(last.x), clamp(y(last.y))], className: `label ${c.look}`};
    }),
    ...(chart.grey ?? []).filter((c) => c.points.length).map((c) => {
      const seen = c.points.filter(([px, py]) => x(px) <= right && y(py) >= top && y(py) <= bottom);
      const last = (seen.length ? seen : c.points).at(-1);
      return {...c, at: [Math.min(x(last[0]), right), clamp(y(last[1]))], className: 'label published'};
    }),
  ];
  const texts = ends.map((end) => inLines(end.short ?? end.name, 28));
  const lineHeight = 14;
  const most = Math.max(1, ...texts.map((lines) => lines.length));
  const heights = spreadOut(ends.map((e) => e.at[1]), 3 + lineHeight * most, top + 8, bottom - 4);
  const column = right + 14;
  return ends.map((end, i) => {
    const first = heights[i] + 4 - (texts[i].length - 1) * lineHeight / 2;
    return svg('g', {class: end.className},
      svg('title', {}, end.name),
      svg('path', {class: 'tie', d: `M${end.at[0].toFixed(1)} ${end.at[1].toFixed(1)}L${column - 8} ${heights[i].toFixed(1)}H${column}`}),
      end.shape ? svg('path', {class: 'swatch', d: end.shape, transform: `translate(${column + 8} ${heights[i].toFixed(1)})`}) : null,
      svg('text', {}, texts[i].map((line, k) => svg('tspan', {x: column + 19, y: (first + k * lineHeight).toFixed(1)}, line))));
  });
}

// The figures of the point under the pointer, or of the one that the arrow keys have reached.
function explore(host, drawing, tip, points, wide) {
  let current = null;
  const show = (found) => {
    if (current === found) return;
    current?.node.classList.remove('here');
    current = found;
    tip.hidden = !found;
    if (!found) return;
    found.node.classList.add('here');
    tip.replaceChildren(el('strong', {}, found.curve.name), ...found.point.text.map((line) => el('span', {}, line)));
    const zoom = drawing.clientWidth / wide;
    const [px, py] = found.at.map((value) => value * zoom);
    tip.style.left = `${Math.max(4, Math.min(px + 12, host.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${py > tip.offsetHeight + 30 ? py - tip.offsetHeight - 12 : py + 14}px`;
  };
  drawing.addEventListener('pointermove', (event) => {
    const frameBox = drawing.getBoundingClientRect();
    const zoom = wide / frameBox.width;
    const px = (event.clientX - frameBox.left) * zoom;
    const py = (event.clientY - frameBox.top) * zoom;
    let best = null;
    let distance = 22 ** 2;
    for (const one of points) {
      const d = (one.at[0] - px) ** 2 + (one.at[1] - py) ** 2;
      if (d < distance) [best, distance] = [one, d];
    }
    show(best);
  });
  drawing.addEventListener('pointerleave', () => show(null));
  drawing.addEventListener('focusin', (event) => show(points.find((one) => one.node === event.target) ?? null));
  drawing.addEventListener('focusout', () => show(null));
  drawing.addEventListener('keydown', (event) => {
    const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
    const here = points.find((one) => one.node === document.activeElement);
    if (event.key === 'Escape') show(null);
    if (!step || !here) return;
    event.preventDefault();
    const next = step[0] ? nextCurve(points, here, step[0]) : points.find(
      (one) => one.row === here.row && one.place === here.place + step[1]);
    if (!next) return;
    here.node.setAttribute('tabindex', -1);
    next.node.setAttribute('tabindex', 0);
    next.node.focus();
  });
}

function nextCurve(points, here, step) {
  const rows = [...new Set(points.map((one) => one.row))];
  const row = rows[rows.indexOf(here.row) + step];
  const candidates = points.filter((one) => one.row === row);
  const distance = (one) => Math.abs(one.at[0] - here.at[0]);
  return candidates.reduce((a, b) => (a && distance(a) <= distance(b) ? a : b), null);
}
