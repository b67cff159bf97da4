// Numbers as the static tables write them.

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function fixed(value, digits) {
  return known(value) ? value.toFixed(digits).replace('-', MINUS) : 'not measured';
}

// '−12.3 %' of a log10 ratio of rates
function percent(logRatio) {
  if (!known(logRatio)) return 'undefined';
  const value = 100 * (10 ** logRatio - 1);
  const text = Math.abs(value) < 999.95 ? value.toFixed(1) : value.toFixed(0);
  if (Number(text) === 0) return '0.0\u00a0%';
  return (value > 0 ? '+' : '') + text.replace('-', MINUS) + '\u00a0%';
}

const logRatio = (value) => (known(value) && value > -100 ? Math.log10(1 + value / 100) : null);

function figures(value, digits = 3) {
  if (!known(value)) return 'not measured';
  if (value === 0) return '0';
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(places).replace('-', MINUS);
}

const decibels = (index) => (index < 1 ? -10 * Math.log10(1 - index) : Infinity);
const heading = (metric) => (metric.unit ? `${metric.label} (${metric.unit})` : metric.label);

// The plain value of a metric on one picture, with its unit.
function plainValue(metric, value) {
  if (!known(value)) return 'not measured';
  if (metric.name === 'ms-ssim') return fixed(value, 4);
  return fixed(value, metric.digits) + (metric.unit ? '\u00a0' + metric.unit : '');
}

// A text in lines of about so many characters, broken between words.
function inLines(text, length) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (lines.at(-1) && longer.length > length) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}
