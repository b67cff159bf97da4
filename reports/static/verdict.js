// Sentences and table of verdicts, under any anchor.

function makeVerdict() {
  watch(['anchor', 'hidden'], drawVerdict);
  watch(['metric'], markMetric);
  if (state.anchor !== DEFAULTS.anchor || state.hidden) drawVerdict();
  markMetric();
}

function drawVerdict() {
  const rows = shownRows();
  for (const node of $$('[data-anchor-label]')) node.textContent = anchor().label;
  $('#verdict-title').textContent = anchor().title;
  $('#verdict-list').replaceChildren(...rows.map((row) => el('li', {},
    el('strong', {}, data.codecs[row.codec].label), ' ', el('span', {}, typeset(row.sentence)))));
  const limits = data.metrics.map((_, column) => Math.max(Math.log10(1.1),
    ...rows.flatMap((row) => row.cells[column].percent.map(logRatio).filter(known).map(Math.abs))));
  $('#verdict-table tbody').replaceChildren(...rows.map((row) => {
    const codec = data.codecs[row.codec];
    return el('tr', {}, el('th', {scope: 'row'}, codec.label, el('span', {class: 'sub'}, el('code', {}, codec.name)),
      codec.tuned ? el('span', {class: 'sub'}, `trained for ${codec.tuned}`) : null),
    row.cells.map((cell, column) => verdictCell(cell, limits[column])));
  }));
  markMetric();
}

const shownRows = () => anchor().rows.filter((row) => isShown(row.codec));

function verdictCell(cell, limit) {
  return el('td', {class: cell.tone},
    el('span', {class: 'figure'}, typeset(cell.value)),
    cell.interval ? el('span', {class: 'sub'}, typeset(cell.interval)) : null,
    known(cell.percent[0]) ? whisker(cell.percent.map(logRatio), limit) : null,
    cell.overlap ? el('span', {class: 'sub'}, cell.overlap) : null,
    cell.remark ? el('span', {class: 'remark'}, cell.remark) : null);
}

function whisker([value, low, high], limit) {
  const x = (v) => 60 + (56 * Math.min(Math.max(v, -limit), limit)) / limit;
  const span = known(low) && known(high)
    ? svg('path', {class: 'span', d: `M${x(low).toFixed(1)} 7H${Math.max(x(high), x(low) + 1).toFixed(1)}`}) : null;
  return svg('svg', {class: 'whisker', viewBox: '0 0 120 14', 'aria-hidden': 'true'},
    svg('path', {class: 'zero', d: 'M60 1V13'}), span, svg('circle', {cx: x(value).toFixed(1), cy: 7, r: 2.6}));
}

// The chosen metric's column stands out a little.
function markMetric() {
  const column = data.metrics.indexOf(metric()) + 1;
  for (const row of $$('#verdict-table tr')) {
    [...row.children].forEach((cell, i) => cell.classList.toggle('chosen', i === column));
  }
  for (const node of $$('[data-metric-label]')) node.textContent = metric().label;
}
