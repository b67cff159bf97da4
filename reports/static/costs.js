// Quality over seconds: BD-rate of each codec against its encoding or decoding time.

function makeCosts() {
  const host = $('#cost-view');
  if (!host) return;
  const box = el('div', {class: 'chartbox', id: 'cost-chart'});
  host.append(el('h3', {}, 'Bits against seconds'), box, el('p', {class: 'note', id: 'cost-note'}));
  const draw = () => {
    const chart = costChart();
    host.hidden = !chart;
    if (!chart) return;
    drawChart(box, chart);
    $('#cost-note').textContent = `Filled: encoding; outlined: decoding. Change in bits against ${anchor().label} at equal `
      + `${metric().label}; both towards the lower left are better.`;
  };
  watch(['metric', 'anchor', 'hidden'], draw);
  onResize(box, draw);
  draw();
}

function costChart() {
  const column = data.metrics.indexOf(metric());
  const curves = [];
  for (const place of shownCodecs()) {
    const row = anchor().rows.find((one) => one.codec === place);
    const figure = row ? logRatio(row.percent[column][0]) : isAnchor(place) ? 0 : null;
    const cost = data.costs[place];
    if (!known(figure)) continue;
    const points = [['encode', 'encoding'], ['decode', 'decoding']].filter(([what]) => cost[`${what}_speed`] > 0)
      .map(([what, word]) => ({x: 1 / cost[`${what}_speed`], y: 10 ** figure, outlined: what === 'decode',
        text: [`${word} ${figures(1 / cost[`${what}_speed`])} s for a megapixel`, `${percent(figure)} bits`]}))
      .sort((a, b) => a.x - b.x);
    if (points.length) curves.push({name: data.codecs[place].label, short: data.codecs[place].short, look: classOf(place), shape: shapeOf(place), points, thin: true});
  }
  if (!curves.length) return null;
  const xs = curves.flatMap((curve) => curve.points.map((p) => p.x));
  const ys = [1, ...curves.flatMap((curve) => curve.points.map((p) => p.y))];
  const low = Math.min(...ys) / 1.08;
  const high = Math.max(...ys) * 1.08;
  return {
    title: 'Bits against seconds',
    x: {low: Math.min(...xs) / 1.4, high: Math.max(...xs) * 1.4, log: true, title: 'seconds for a megapixel'},
    y: {low, high, log: true, title: 'change in bits', hint: 'lower is better', label: ratioLabel,
      ticks: linearTicks(100 * (low - 1), 100 * (high - 1), 6).map((value) => 1 + value / 100)},
    curves,
    zero: 1,
  };
}
