// What is shown, kept in the address: any view is a link.

const DEFAULTS = {
  anchor: data.anchors[0].name,
  metric: '',
  hidden: '', // codecs that are switched off, by name
  rate: 'linear',
  scale: 'usual', // of quality: 'usual' or 'other'
  band: '',
  published: '', // curves whose switch is not as at first
  sort: '',
  image: '',
  a: '',
  b: '',
  at: '', // matched rate
  mode: 'slider',
  zoom: '',
  x: '',
  y: '',
  map: '', // of what codecs tell of their streams
};
const state = {...DEFAULTS};
const listeners = [];

// `view` is called whenever one of the named values has changed, with the set of those that have.
function watch(names, view) {
  listeners.push([new Set(names), view]);
}

function update(changes) {
  const changed = new Set();
  for (const [name, value] of Object.entries(changes)) {
    if (state[name] !== String(value)) {
      state[name] = String(value);
      changed.add(name);
    }
  }
  if (!changed.size) return;
  for (const [names, view] of listeners) if ([...changed].some((name) => names.has(name))) view(changed);
  remember();
}

let writing = 0;

function remember() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    const parts = Object.keys(DEFAULTS)
      .filter((name) => state[name] !== DEFAULTS[name])
      .map((name) => `${name}=${encodeURIComponent(state[name])}`);
    const fragment = parts.length ? '#' + parts.join('&') : '';
    if (fragment !== location.hash) history.replaceState(null, '', fragment || location.pathname + location.search);
  }, 120);
}

// The fragment's values; what it does not name is as at first.
function recall() {
  const found = {...DEFAULTS};
  for (const part of location.hash.slice(1).split('&')) {
    const [name, value] = part.split('=');
    if (value === undefined || !Object.hasOwn(DEFAULTS, name)) continue;
    try {
      found[name] = decodeURIComponent(value);
    } catch {
      continue; // cut short by whoever passed the link on
    }
  }
  return found;
}

const listed = (text) => new Set(text ? text.split(',').map(decodeURIComponent) : []);
const list = (names) => [...names].map(encodeURIComponent).join(',');

const anchorIndex = () => Math.max(0, data.anchors.findIndex((one) => one.name === state.anchor));
const anchor = () => data.anchors[anchorIndex()];
const metric = () => metricsByName.get(state.metric) ?? metricsByName.get(DEFAULTS.metric) ?? data.metrics[0];
const hasCurves = (one) => Object.keys(one.series).length > 0;
// A published codec has no place, and no switch.
const isShown = (place) => place === null || !listed(state.hidden).has(data.codecs[place].name);
const shownCodecs = () => data.codecs.map((_, place) => place).filter(isShown);

// The codec that `place` is compared with; null for the anchor itself.
function against(place) {
  const row = anchor().rows.find((one) => one.codec === place);
  return row ? row.against : null;
}

const isAnchor = (place) => anchor().rows.some((row) => row.against === place);

// Of a pair of codecs: by picture, and over quality, log10 of rate(place) / rate(its anchor).
function ratios(place, name) {
  const other = against(place);
  if (other === null) return null;
  const pair = data.pairs[`${Math.min(place, other)}-${Math.max(place, other)}`]?.[name];
  if (!pair) return null;
  const sign = other < place ? 1 : -1;
  const turn = (values) => values.map((value) => (known(value) ? sign * value * data.step : null));
  const curve = pair.curve && {
    from: pair.curve.from,
    to: pair.curve.to,
    value: turn(pair.curve.value),
    low: turn(sign > 0 ? pair.curve.low : pair.curve.high),
    high: turn(sign > 0 ? pair.curve.high : pair.curve.low),
  };
  return {images: pair.images && turn(pair.images), curve};
}
