// The report's data, and making elements.  All text goes in as text: nothing is ever parsed.

const data = JSON.parse(document.getElementById('data').textContent);
const metricsByName = new Map(data.metrics.map((metric) => [metric.name, metric]));
const MINUS = '\u2212';
const SVG = 'http://www.w3.org/2000/svg';

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// An HTML element: el('p', {class: 'note', on: {click}}, 'text', child)
function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

// A set of radio buttons drawn as one control; `options` are [value, label].
function segments(legend, name, options, chosen, changed) {
  const set = el('fieldset', {class: 'segments'}, el('legend', {}, legend));
  for (const [value, label] of options) {
    const input = el('input', {type: 'radio', name, value, checked: value === chosen});
    input.addEventListener('change', () => changed(value));
    set.append(el('label', {}, input, el('span', {}, label)));
  }
  return set;
}

function setSegment(set, value) {
  for (const input of $$('input', set)) input.checked = input.value === String(value);
}

function picker(label, options, changed) {
  const select = el('select', {}, options.map(([value, text]) => el('option', {value}, text)));
  select.addEventListener('change', () => changed(select.value));
  return [el('label', {class: 'pick'}, label + ' ', select), select];
}

function tick(label, checked, changed) {
  const input = el('input', {type: 'checkbox', checked});
  input.addEventListener('change', () => changed(input.checked));
  return el('label', {class: 'tick'}, input, label);
}

// A table with a caption and row headings, in a region that scrolls by itself.
function table(caption, heads, rows) {
  return el('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption},
    el('table', {},
      el('caption', {}, caption),
      el('thead', {}, el('tr', {}, heads.map((head, i) =>
        el('th', {scope: 'col', class: i ? null : 'l'}, head)))),
      el('tbody', {}, rows.map((row) => el('tr', {}, row.map((cell, i) =>
        i ? el('td', {}, cell) : el('th', {scope: 'row'}, cell)))))));
}
