// Rate-distortion curves of the chosen metric.

const OTHER_SCALE = {'ms-ssim': 'index', 'lpips-alex': 'logarithmic', 'lpips-vgg': 'logarithmic'};
const isPublishedOn = (one) => one.shown !== listed(state.published).has(one.id);

function makeCurves() {
  for (const figure of $$('figure.chart')) {
    const name = figure.dataset.metric;
    const one = metricsByName.get(name);
    const box = $('.chartbox', figure);
    box.id = `chart-${figure.id}`;
    const head = $('.head', figure);
    const controls = el('div', {class: 'tools'});
    const rate = segments('Rate axis', `rate-${figure.id}`,
      [['linear', 'linear'], ['log', 'log']], state.rate, (value) => update({rate: value}));
    controls.append(rate);
    let quality = null;
    if (OTHER_SCALE[name]) {
      const usual = name === 'ms-ssim' ? 'dB' : 'linear';
      const other = name === 'ms-ssim' ? 'index' : 'log';
      quality = segments('Quality axis', `scale-${figure.id}`,
        [['usual', usual], ['other', other]], state.scale, (value) => update({scale: value}));
      controls.append(quality);
    }
    const band = tick('intervals', state.band === '1', (on) => update({band: on ? 1 : ''}));
    band.title = '95 % interval of the mean over images: pictures differ more than codecs do';
    controls.append(band);
    head.append(controls);
    const draw = () => {
      const chosen = metric().name === name;
      figure.classList.toggle('aside', !chosen);
      setSegment(rate, state.rate);
      if (quality) setSegment(quality, state.scale);
      $('input', band).checked = state.band === '1';
      drawChart(box, rdChart(one)); // the others too: they are printed
    };
    watch(['metric', 'anchor', 'hidden', 'rate', 'scale', 'band', 'published'], draw);
    onResize(box, draw);
    draw();
  }
  for (const box of $$('input[name=published]')) {
    box.hidden = false;
    const facts = data.metrics.flatMap((m) => m.published).find((one) => one.id === box.value);
    const draw = () => { box.checked = facts ? isPublishedOn(facts) : false; };
    box.addEventListener('change', () => {
      const odd = listed(state.published);
      if (box.checked === facts.shown) odd.delete(facts.id);
      else odd.add(facts.id);
      update({published: list(odd)});
    });
    watch(['published'], draw);
    draw();
  }
}

function rdChart(one) {
  const other = state.scale === 'other' && Boolean(OTHER_SCALE[one.name]);
  const index = other && one.name === 'ms-ssim';
  const logY = other && !index;
  const logX = state.rate === 'log';
  const places = shownCodecs().filter((place) => one.series[place]);
  const curves = places.map((place) => {
    const codec = data.codecs[place];
    return {
      name: codec.label,
      short: codec.short,
      look: classOf(place),
      shape: shapeOf(place),
      heavy: isAnchor(place),
      points: one.series[place].map(([point, bpp, value, plain]) => ({
        x: bpp,
        y: index ? plain : value,
        text: [point, `${fixed(bpp, 4)} bpp`, rdValue(one, value, plain)],
      })),
      // The interval is one of mean decibels, so it has no place on the scale of the index.
      band: state.band === '1' && !index ? qualityBand(codec.bands[one.name], logY) : [],
    };
  });
  const all = curves.flatMap((curve) => curve.points);
  const xs = all.map((p) => p.x);
  const ys = all.map((p) => p.y);
  const [low, high] = all.length ? [Math.min(...ys), Math.max(...ys)] : [0, 1];
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  const top = all.length ? Math.max(...xs) : 1;
  return {
    title: `${one.label} over bits per pixel, ${curves.length} curves`,
    x: logX
      ? {low: Math.min(...xs, top) / 1.12, high: top * 1.12, log: true, title: 'bits per pixel'}
      : {low: 0, high: top * 1.03, log: false, title: 'bits per pixel'},
    y: {
      low: logY ? low / 1.1 : low - pad,
      high: logY ? high * 1.1 : index ? Math.min(1, high + pad) : high + pad,
      log: logY,
      title: index ? 'MS-SSIM' : heading(one),
      hint: one.rising ? 'higher is better' : 'lower is better',
    },
    curves,
    grey: one.published.filter(isPublishedOn).map((curve) => ({
      name: curve.label,
      points: curve.points.map(([r, v]) => [r, index ? 1 - 10 ** (-v / 10) : v]),
    })).filter((curve) => curve.points.length > 1),
    marks: data.budgets.map((at) => ({at, text: `CLIC 2022 budget: ${at} bits per pixel`})),
  };
}

function rdValue(one, value, plain) {
  const text = `${one.label} ${fixed(value, one.digits)}${one.unit ? ' ' + one.unit : ''}`;
  return one.name === 'ms-ssim' ? `${text} (index ${fixed(plain, 4)})` : text;
}

function qualityBand(band, logY) {
  if (!band) return [];
  const step = (band.to - band.from) / (band.low.length - 1);
  return band.low.map((low, i) => [10 ** (band.from + i * step), low, band.high[i]])
    .filter(([, low, high]) => known(low) && known(high) && (!logY || low > 0));
}

// Calls `draw` when the width of `box` has changed.
function onResize(box, draw) {
  let width = box.clientWidth;
  new ResizeObserver(() => {
    if (box.clientWidth && Math.abs(box.clientWidth - width) > 2) {
      width = box.clientWidth;
      draw();
    }
  }).observe(box);
}
