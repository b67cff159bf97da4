// Block decisions: at which level each part of a picture was sent, and what it cost.

const LEVEL_LABELS = {1: '16 px', 2: '32 px', 3: '64 px'};

function makeDecisions() {
  const host = $('#decision-view');
  const places = data.gallery.decided;
  const {images} = data.gallery;
  if (!host || !places.length || !images.length) return;
  const [imageLabel, imageSelect] = picker('Image', images.map((i) => [i, data.images[i].name]),
    (value) => update({image: data.images[value].name, zoom: '', x: '', y: ''}));
  const rate = segments('Rate near', 'decision-rate', data.gallery.rates.map((r) => [String(r), `${r} bpp`]),
    String(data.gallery.rates[rateIndex()]), (value) => update({at: value}));
  const kinds = segments('Show', 'decision-kind', [['levels', 'levels'], ['bits', 'bits per block']], state.blocks || 'levels',
    (value) => update({blocks: value === 'levels' ? '' : value}));
  const maps = el('div', {class: 'maps'});
  const key = el('p', {class: 'note key-line'});
  const histogram = el('div', {class: 'histograms'});
  host.append(el('div', {class: 'tools'}, imageLabel, rate, kinds), maps, key,
    el('h3', {}, 'Variance of a block, and the level it was sent at'), histogram);
  const draw = () => {
    const image = galleryImage();
    imageSelect.value = image;
    setSegment(rate, data.gallery.rates[rateIndex()]);
    setSegment(kinds, state.blocks || 'levels');
    const found = places.map((place) => ({place, decision: decisionOf(image, place)}))
      .filter((one) => one.decision);
    const most = Math.max(1, ...found.flatMap(({decision}) => decision.bits));
    maps.replaceChildren(...found.map(({place, decision}) => decisionMap(image, place, decision, most)));
    key.replaceChildren(...keyOf(most));
    histogram.replaceChildren(...places.map((place) => levelHistogram(place, pointOf(image, place))).filter(Boolean));
  };
  watch(['image', 'at', 'blocks'], draw);
  draw();
}

const decisionOf = (image, place, point = pointOf(image, place)) => pictureOf(image).decisions[`${place}-${point}`];

// [level, x, y, width] of each block, in pixels
function blocksOf(decision) {
  const blocks = [];
  [...decision.partitions].forEach((letter, i) => {
    const x = 64 * (i % decision.columns);
    const y = 64 * Math.floor(i / decision.columns);
    if (letter === 'q') return blocks.push([3, x, y, 64]);
    const split = letter.charCodeAt(0) - 97;
    for (let k = 0; k < 4; k++) {
      const [qx, qy] = [x + 32 * (k % 2), y + 32 * (k >> 1)];
      if (!((split >> k) & 1)) blocks.push([2, qx, qy, 32]);
      else for (let j = 0; j < 4; j++) blocks.push([1, qx + 16 * (j % 2), qy + 16 * (j >> 1), 16]);
    }
    return null;
  });
  return blocks;
}

function decisionMap(image, place, decision, most) {
  const {width, height} = data.images[image];
  const drawing = svg('svg', {viewBox: `0 0 ${width} ${height}`, class: 'map', role: 'img',
    'aria-label': `Blocks of ${data.codecs[place].label} on ${data.images[image].name}`});
  drawing.append(svg('image', {href: pictureOf(image).preview, width, height, preserveAspectRatio: 'none'}));
  if (state.blocks === 'bits') {
    decision.bits.forEach((bits, i) => drawing.append(svg('rect', {class: 'bits', x: 64 * (i % decision.columns),
      y: 64 * Math.floor(i / decision.columns), width: 64, height: 64, 'fill-opacity': (0.85 * Math.sqrt(bits / most)).toFixed(3)},
    svg('title', {}, `${bits} bits`))));
  } else {
    for (const level of [3, 2, 1]) {
      drawing.append(svg('path', {class: `level${level}`, d: blocksOf(decision).filter((b) => b[0] === level)
        .map(([, x, y, w]) => `M${x} ${y}h${w}v${w}h${-w}z`).join('')}));
    }
  }
  const codec = data.codecs[place];
  const point = pointOf(image, place);
  const [start, found] = decision.estimated;
  const facts = [`${codec.points[point]}, ${fixed(pictureOf(image).values[`${place}-${point}`][0], 4)} bpp`,
    known(decision.cost) ? `J ${fixed(decision.cost, 4)}` : null,
    known(decision.runs) ? `${decision.runs} coding run${decision.runs === 1 ? '' : 's'}` : null,
    known(start) && known(found) ? `estimated J ${fixed(start, 4)} → ${fixed(found, 4)}` : null,
    known(decision.mask_bytes) ? `partition ${decision.mask_bytes} bytes` : null].filter(Boolean);
  return el('figure', {}, drawing, el('figcaption', {}, el('strong', {}, codec.label), ` ${facts.join('; ')}`));
}

function keyOf(most) {
  if (state.blocks === 'bits') return [`Estimated bits of each 64 × 64 block: clear 0, darkest ${most}.`];
  return [1, 2, 3].flatMap((level) => [svg('svg', {class: 'swatch', viewBox: '0 0 12 12', 'aria-hidden': 'true'},
    svg('path', {class: `level${level}`, d: 'M1 1h10v10h-10z'})), `${LEVEL_LABELS[level]} `]);
}

// How often each level was chosen for blocks of a given variance, over all pictures shown at this
// operating point: others have other thresholds.
function levelHistogram(place, point) {
  const counts = [1, 2, 3].map(() => new Array(26).fill(0));
  let pictures = 0;
  for (const image of data.gallery.images) {
    const decision = decisionOf(image, place, point);
    if (!decision) continue;
    pictures += 1;
    const {variances} = pictureOf(image);
    const across = Math.ceil(data.images[image].width / 32);
    const down = Math.ceil(data.images[image].height / 32);
    for (const [level, x, y, w] of blocksOf(decision)) {
      for (let by = y; by < y + Math.max(w, 32); by += 32) {
        for (let bx = x; bx < x + Math.max(w, 32); bx += 32) {
          const [cx, cy] = [Math.floor(bx / 32), Math.floor(by / 32)];
          if (cx >= across || cy >= down) continue;
          counts[level - 1][variances.charCodeAt(cy * across + cx) - 97] += level === 1 ? 0.25 : 1;
        }
      }
    }
  }
  const totals = counts[0].map((_, bin) => counts.reduce((sum, level) => sum + level[bin], 0));
  if (!totals.some(Boolean)) return null;
  const used = totals.map((_, i) => i).filter((i) => totals[i]);
  const [first, last] = [used[0], used.at(-1) + 1];
  const [left, right, top, bottom] = [54, 480, 22, 180];
  const x = scale(first, last, left, right);
  const y = scale(0, Math.max(...totals) * 1.05, bottom, top);
  const powers = [-1, 0, 1, 2, 3, 4].filter((p) => 5 * (p + 1) >= first && 5 * (p + 1) <= last);
  const bars = [];
  totals.forEach((_, bin) => {
    let from = 0;
    for (const level of [3, 2, 1]) {
      const count = counts[level - 1][bin];
      if (!count) continue;
      bars.push(svg('rect', {class: `level${level} solid`, x: (x(bin) + 0.5).toFixed(1), width: Math.max(1, x(bin + 1) - x(bin) - 1).toFixed(1),
        y: y(from + count).toFixed(1), height: (y(from) - y(from + count)).toFixed(1)},
      svg('title', {}, `${LEVEL_LABELS[level]}: ${Math.round(count)} blocks of 32 × 32`)));
      from += count;
    }
  });
  const rows = [1, 2, 3].map((level) => [LEVEL_LABELS[level], ...powers.slice(0, -1).map((p, i) =>
    String(Math.round(counts[level - 1].slice(5 * (p + 1), 5 * (powers[i + 1] + 1)).reduce((a, b) => a + b, 0))))]);
  const at = ` ${data.codecs[place].points[point]}, ${pictures} picture${pictures === 1 ? '' : 's'}`;
  return el('figure', {}, el('figcaption', {}, el('strong', {}, data.codecs[place].label), at),
    svg('svg', {viewBox: '0 0 500 232', class: 'rd', role: 'img', 'aria-label': `Variance against level, ${data.codecs[place].label}`},
      frame([left, right, top, bottom], x, y, {x: 'luma variance of 32 × 32 pixels', y: 'blocks', ticksX: powers.map((p) => 5 * (p + 1)),
        ticksY: linearTicks(0, y.high, 4)}, (t) => String(Number((10 ** (t / 5 - 1)).toPrecision(1)))), bars),
    powers.length > 1 ? el('details', {}, el('summary', {}, 'Numbers'), table(`${data.codecs[place].label}: blocks of 32 × 32 pixels by level and luma variance`,
      ['Level', ...powers.slice(0, -1).map((p, i) => `${10 ** p} to ${10 ** powers[i + 1]}`)], rows)) : null);
}
