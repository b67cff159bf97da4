// Who wins on which picture: a dot for each codec, pictures in rows, sorted by gain or loss.

const WIN_WIDTH = 460;
const WIN_ROW = 34;

let winImages = [];

function makeWins() {
  if (!$('#win-table')) return;
  winImages = $$('#win-table tbody tr').map((row) => Number(row.dataset.image));
  watch(['metric', 'anchor', 'hidden', 'sort'], drawWins);
  drawWins();
}

function drawWins() {
  const one = metric();
  const columns = shownCodecs().map((place) => ({place, images: ratios(place, one.name)?.images}))
    .filter((column) => column.images);
  const x = winScale(columns);
  const order = winOrder(columns);
  const thumbs = new Map($$('#win-table tbody tr').map((row) => [Number(row.dataset.image), $('th', row)]));
  const sorted = state.sort.replace(/^-/, '');
  const head = (key, label, look) => {
    const chosen = sorted === key;
    const direction = chosen ? (state.sort.startsWith('-') ? 'descending' : 'ascending') : null;
    return el('th', {scope: 'col', class: key ? null : 'l', 'aria-sort': direction},
      el('button', {type: 'button', class: 'sort', on: {click: () => update({sort: nextSort(key)})}},
        look ?? null, label, el('span', {class: 'arrow', 'aria-hidden': 'true'}, chosen ? (direction === 'ascending' ? ' ▲' : ' ▼') : '')));
  };
  $('#win-table thead').replaceChildren(el('tr', {}, head('', 'Image'),
    el('th', {class: 'dots l', scope: 'col'}, winAxis(x)),
    columns.map(({place}) => head(data.codecs[place].name, data.codecs[place].name,
      svg('svg', {class: `key ${classOf(place)}`, viewBox: '-6 -6 12 12', 'aria-hidden': 'true'}, svg('path', {d: shapeOf(place)}))))));
  $('#win-table tbody').replaceChildren(...order.map((image) => winRow(image, columns, x, thumbs.get(image))));
}

function winRow(image, columns, x, heading) {
  const name = data.images[image].name;
  const looked = data.gallery.images.includes(image);
  const old = $('img', heading);
  const open = looked
    ? el('button', {type: 'button', class: 'open', on: {click: () => openImage(image)}}, old, el('span', {class: 'name'}, name))
    : el('span', {}, old, el('span', {class: 'name'}, name));
  const dots = columns.filter(({images}) => known(images[image])).map(({place, images}) =>
    svg('path', {class: classOf(place), d: shapeOf(place), transform: `translate(${x(images[image]).toFixed(1)} ${WIN_ROW / 2})`},
      svg('title', {}, `${data.codecs[place].label}: ${percent(images[image])}`)));
  return el('tr', {'data-image': image}, el('th', {scope: 'row'}, open),
    el('td', {class: 'dots'}, svg('svg', {viewBox: `0 0 ${WIN_WIDTH} ${WIN_ROW}`, class: 'dotrow', 'aria-hidden': 'true'},
      svg('path', {class: 'rail', d: `M8 ${WIN_ROW / 2}H${WIN_WIDTH - 8}`}),
      svg('path', {class: 'zero', d: `M${x(0)} 0V${WIN_ROW}`}), svg('g', {class: 'mark'}, dots))),
    columns.map(({images}) => el('td', {class: tone(images[image])}, percent(images[image]))));
}

const tone = (ratio) => (!known(ratio) ? 'undefined' : ratio < -0.0005 ? 'better' : ratio > 0.0005 ? 'worse' : 'level');

// From the largest gain to the largest loss, with the anchor's line inside.
function winScale(columns) {
  const all = columns.flatMap(({images}) => images.filter(known));
  const least = Math.log10(1.1);
  return scale(1.06 * Math.min(-least, ...all), 1.06 * Math.max(least, ...all), 8, WIN_WIDTH - 8);
}

function winOrder(columns) {
  const order = [...winImages];
  const column = columns.find(({place}) => data.codecs[place].name === state.sort.replace(/^-/, ''));
  const sign = state.sort.startsWith('-') ? -1 : 1;
  if (state.sort === '-') return order.reverse();
  if (!column) return order;
  const key = (image) => (known(column.images[image]) ? sign * column.images[image] : Infinity);
  return order.sort((a, b) => key(a) - key(b) || a - b);
}

// First the largest gain, then the largest loss.
function nextSort(key) {
  return state.sort === key ? `-${key}` : key;
}

function winAxis(x) {
  const ratios = [0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10];
  const shown = [1];
  const clear = (ratio) => shown.every((other) => Math.abs(x(Math.log10(ratio)) - x(Math.log10(other))) > 56);
  for (const ratio of ratios.toSorted((a, b) => Math.abs(Math.log(b)) - Math.abs(Math.log(a)))) {
    const at = x(Math.log10(ratio));
    if (at > 20 && at < WIN_WIDTH - 24 && clear(ratio)) shown.push(ratio);
  }
  return svg('svg', {viewBox: `0 0 ${WIN_WIDTH} 16`, class: 'dotrow', role: 'img', 'aria-label': 'Change in bits, fewer to the left'},
    shown.map((ratio) => svg('text', {x: x(Math.log10(ratio)).toFixed(1), y: 12, class: 'mid'}, ratioLabel(ratio))));
}
