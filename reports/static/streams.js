// Maps that codecs draw of their streams: levels with a legend, or amounts as heat.

function makeStreams() {
  const host = $('#stream-view');
  const {mapped, images, rates} = data.gallery;
  const places = Object.keys(mapped).map(Number);
  if (!host || !places.length || !images.length) return;
  const [imageLabel, imageSelect] = picker('Image', images.map((i) => [i, data.images[i].name]),
    (value) => update({image: data.images[value].name, zoom: '', x: '', y: ''}));
  const rate = segments('Rate near', 'stream-rate', rates.map((r) => [String(r), `${r} bpp`]), String(rates[rateIndex()]), (value) => update({at: value}));
  const names = [...new Set(Object.values(mapped).flat())];
  const chosen = () => (names.includes(state.map) ? state.map : names[0]);
  const kinds = segments('Show', 'stream-map', names.map((name) => [name, name]), chosen(), (value) => update({map: value}));
  const frames = el('div', {class: 'maps'});
  const key = el('p', {class: 'note key-line'});
  host.append(el('div', {class: 'tools'}, imageLabel, rate, kinds), frames, key);
  const draw = () => {
    const image = galleryImage();
    imageSelect.value = image;
    setSegment(rate, rates[rateIndex()]);
    setSegment(kinds, chosen());
    const found = places.map((place) => ({place, map: pictureOf(image).maps[fileOf(image, place)]?.find((one) => one.name === chosen())}))
      .filter(({map}) => map);
    const most = Math.max(...found.flatMap(({map}) => map.rows.flat()), 0);
    frames.replaceChildren(...found.map(({place, map}) => streamMap(image, place, map, most)));
    key.replaceChildren(...(found.length ? keyOf(found[0].map, most) : []));
  };
  watch(['image', 'at', 'map'], draw);
  draw();
}

function streamMap(image, place, map, most) {
  const {width, height} = data.images[image];
  const codec = data.codecs[place];
  const file = fileOf(image, place);
  const drawing = svg('svg', {viewBox: `0 0 ${width} ${height}`, class: 'map', role: 'img',
    'aria-label': `${map.name} of ${codec.label} on ${data.images[image].name}`},
  svg('image', {href: pictureOf(image).preview, width, height, preserveAspectRatio: 'none'}));
  // [value, x, y] of each cell
  const cells = map.rows.flatMap((row, y) => row.map((value, x) => [value, x * map.cell, y * map.cell]));
  if (!map.legend.length) {
    drawing.append(...cells.map(([value, x, y]) => svg('rect', {class: 'heat', x, y, width: map.cell, height: map.cell,
      'fill-opacity': most > 0 && value > 0 ? (0.85 * Math.sqrt(value / most)).toFixed(3) : 0}, svg('title', {}, `${value} ${map.unit}`))));
  }
  map.legend.forEach(([, side], level) => {
    const corners = cells.filter(([value, x, y]) => value === level && x % side === 0 && y % side === 0);
    drawing.append(svg('path', {class: `level level${level % 8}`, d: corners.map(([, x, y]) => `M${x} ${y}h${side}v${side}h${-side}z`).join('')}));
  });
  const bpp = fixed(pictureOf(image).values[file][0], 4);
  return el('figure', {}, drawing, el('figcaption', {}, el('strong', {}, codec.label), ` ${pointName(file)}, ${bpp} bpp`));
}

function keyOf(map, most) {
  if (!map.legend.length) return [`Clear 0, darkest ${figures(most)} ${map.unit}; ${map.cell} × ${map.cell} pixels each.`];
  return map.legend.flatMap(([text], level) => [svg('svg', {class: 'swatch', viewBox: '0 0 12 12', 'aria-hidden': 'true'},
    svg('path', {class: `level level${level % 8}`, d: 'M1 1h10v10h-10z'})), `${text} `]);
}
