// Rate saving over quality: where along the curve a codec gains or loses against the anchor.

function makeRelative() {
  for (const figure of $$('figure.chart')) {
    const name = figure.dataset.metric;
    const one = metricsByName.get(name);
    const host = $('.relative', figure);
    host.hidden = false;
    const title = el('h4', {}, 'Rate against the anchor, over quality');
    const box = el('div', {class: 'chartbox', id: `relative-${figure.id}`});
    const note = el('p', {class: 'note'});
    const numbers = el('details', {}, el('summary', {}, 'Numbers of this chart'));
    const numberBody = el('div');
    numbers.append(numberBody);
    host.append(title, box, note, numbers);
    const draw = () => {
      if (metric().name !== name) return;
      const chart = relativeChart(one);
      host.hidden = !chart;
      if (!chart) return;
      drawChart(box, chart);
      note.textContent = `Change in bits at equal ${one.label} against ${anchor().label}, `
        + 'with the paired 95 % interval over images. Below the line: fewer bits.';
      numberBody.replaceChildren(relativeTable(one, chart));
    };
    watch(['metric', 'anchor', 'hidden'], draw);
    onResize(box, draw);
    draw();
  }
}

function relativeChart(one) {
  const curves = [];
  for (const place of shownCodecs()) {
    const curve = ratios(place, one.name)?.curve;
    if (!curve) continue;
    const step = (curve.to - curve.from) / (curve.value.length - 1);
    const at = (i) => curve.from + i * step;
    const points = curve.value.map((value, i) => ({
      x: at(i),
      y: 10 ** value,
      low: curve.low[i],
      high: curve.high[i],
      hidden: true,
      text: [`at ${fixed(at(i), one.digits)}${one.unit ? ' ' + one.unit : ''}`, `${percent(value)} bits`,
        known(curve.low[i]) ? `[${percent(curve.low[i])}, ${percent(curve.high[i])}]` : ''].filter(Boolean),
    }));
    curves.push({
      place,
      name: data.codecs[place].label,
      short: data.codecs[place].short,
      look: classOf(place),
      shape: shapeOf(place),
      points,
      band: points.filter((p) => known(p.low) && known(p.high)).map((p) => [p.x, 10 ** p.low, 10 ** p.high]),
    });
  }
  if (!curves.length) return null;
  const ys = [1, ...curves.flatMap((curve) => curve.points.map((p) => p.y))];
  const xs = curves.flatMap((curve) => curve.points.map((p) => p.x));
  const reach = Math.max(1.08, ...ys.map((y) => Math.max(y, 1 / y)));
  const low = Math.min(...ys) < 0.97 ? Math.min(...ys) / 1.06 : 1 / Math.min(1.2, reach);
  const high = Math.max(...ys) > 1.03 ? Math.max(...ys) * 1.06 : Math.min(1.2, reach);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const padX = (last - first) * 0.03;
  return {
    title: `Rate relative to ${anchor().label} over ${one.label}`,
    x: {low: first - padX, high: last + padX, log: false, title: heading(one)},
    y: {low, high, log: true, title: 'change in bits', hint: 'lower is better', label: ratioLabel,
      ticks: linearTicks(100 * (low - 1), 100 * (high - 1), 8).map((value) => 1 + value / 100)},
    curves,
    zero: 1,
  };
}

const ratioLabel = (ratio) => {
  const value = Math.round(100 * (ratio - 1));
  return value === 0 ? '0 %' : `${value > 0 ? '+' : MINUS}${Math.abs(value)} %`;
};

function relativeTable(one, chart) {
  const rows = chart.curves.flatMap((curve) => curve.points.map((p) => [
    curve.name, fixed(p.x, one.digits), percent(Math.log10(p.y)),
    known(p.low) ? `[${percent(p.low)}, ${percent(p.high)}]` : 'not measured',
  ]));
  return table(`Change in bits against ${anchor().label} at equal ${one.label}`,
    ['Codec', heading(one), 'Bits', '95 % interval'], rows);
}
