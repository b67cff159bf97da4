// Comparing pictures by eye: original and two codecs at a matched rate.

const MODES = [['slider', 'Slider'], ['side', 'Side by side'], ['flip', 'Flip'], ['difference', 'Difference']];
const pictures = new Map(); // place of a picture -> its files
const loaded = new Map(); // address -> image, or a promise of it
const stage = {panes: [], share: 0.5, flipped: 0, sources: {}, wholeMissing: false, extent: null, pick: {}};

const galleryImage = () => {
  const found = data.images.findIndex((one) => one.name === state.image);
  return data.gallery.images.includes(found) ? found : data.gallery.images[0];
};
const rateIndex = () => {
  const found = data.gallery.rates.findIndex((rate) => String(rate) === state.at);
  return found >= 0 ? found : Math.max(0, data.gallery.rates.indexOf(0.15));
};
const placeOf = (name) => data.codecs.findIndex((one) => one.name === name);

// What panes A and B show: a codec's place, or -1 for the original.
function choice(which) {
  const name = state[which];
  if (name === 'original') return -1;
  if (placeOf(name) >= 0) return placeOf(name);
  const first = data.codecs.findIndex((_, place) => isAnchor(place));
  if (which === 'b') return Math.max(0, first);
  const rows = anchor().rows.filter((row) => row.codec !== null && row.codec !== first);
  return rows.length ? rows.at(-1).codec : 0;
}

function pictureOf(image) {
  if (!pictures.has(image)) {
    pictures.set(image, JSON.parse(document.getElementById(`picture-${image}`).textContent));
  }
  return pictures.get(image);
}

function load(address) {
  if (!loaded.has(address)) {
    const image = new Image();
    image.src = address;
    loaded.set(address, image.decode().then(() => image));
  }
  return loaded.get(address);
}

// What is shown for a codec: `codec-point`, of itself or of what was coded to this rate.
const fileOf = (image, place) => data.gallery.chosen[image][rateIndex()][place];

function pointName(file) {
  const [place, point] = file.split('-').map(Number);
  return data.codecs[place].points[point];
}

// {image, box, whole} of a codec or of the original; null where there is no picture.
async function sourceOf(image, place) {
  const picture = pictureOf(image);
  const key = place < 0 ? 'original' : fileOf(image, place);
  const {width, height} = data.images[image];
  if (picture.files[key] && !stage.wholeMissing) {
    try {
      return {image: await load(picture.files[key]), box: [0, 0, width, height], whole: true};
    } catch {
      stage.wholeMissing = true; // mailed without its folder: the crops are in the file
    }
  }
  const crop = picture.crops[key];
  return crop ? {image: await load(crop), box: picture.box, whole: false} : null;
}

function openImage(image) {
  update({image: data.images[image].name, zoom: '', x: '', y: ''});
  $('#look').scrollIntoView({block: 'start'});
  stage.panes[0]?.canvas.focus({preventScroll: true});
}

function makeViewer() {
  const host = $('#viewer-body');
  if (!host || !data.gallery.images.length) return;
  const {pick} = stage;
  const names = [['original', 'Original'], ...data.codecs.map((one) => [one.name, one.label])];
  const [imageLabel, imageSelect] = picker('Image', data.gallery.images.map((i) => [i, data.images[i].name]),
    (value) => update({image: data.images[value].name, zoom: '', x: '', y: ''}));
  const [aLabel, aSelect] = picker('A', names, (value) => update({a: value}));
  const [bLabel, bSelect] = picker('B', names, (value) => update({b: value}));
  const step = (by) => {
    const at = data.gallery.images.indexOf(galleryImage());
    const next = data.gallery.images.at((at + by) % data.gallery.images.length);
    update({image: data.images[next].name, zoom: '', x: '', y: ''});
  };
  const button = (label, title, click) => el('button', {type: 'button', title, 'aria-label': title, on: {click}}, label);
  Object.assign(pick, {imageSelect, aSelect, bSelect,
    rate: segments('Rate near', 'view-rate', data.gallery.rates.map((rate) => [String(rate), `${rate} bpp`]),
      String(data.gallery.rates[rateIndex()]), (value) => update({at: value})),
    mode: segments('View', 'view-mode', MODES, state.mode, (value) => update({mode: value})),
    zoom: el('output', {class: 'zoom'}),
    slider: el('input', {type: 'range', min: 0, max: 1000, value: 500, class: 'divider', 'aria-label': 'Divider between A and B'}),
    flip: el('button', {type: 'button', class: 'wide', on: {click: flip}}),
    stage: el('div', {class: 'stage'}),
    legend: el('p', {class: 'note'}),
    table: el('div'),
    status: el('p', {class: 'note', role: 'status'}),
  });
  pick.slider.addEventListener('input', () => { stage.share = pick.slider.value / 1000; drawStage(); });
  host.append(
    heatFilter(),
    el('div', {class: 'tools'}, el('span', {class: 'group'}, button('‹', 'Previous image', () => step(-1)), imageLabel,
      button('›', 'Next image', () => step(1))), pick.rate, el('span', {class: 'group'},
      button('−', 'Zoom out', () => setView(stepZoom(-1), view.x, view.y)), pick.zoom,
      button('+', 'Zoom in', () => setView(stepZoom(1), view.x, view.y)),
      button('1:1', 'One pixel of the picture on one of the screen', () => setView(1, view.x, view.y)),
      button('Fit', 'Fit to the window', () => update({zoom: '', x: '', y: ''})))),
    el('div', {class: 'tools'}, aLabel, bLabel, button('⇄', 'Swap A and B', () => {
      const name = (place) => (place < 0 ? 'original' : data.codecs[place].name);
      update({a: name(choice('b')), b: name(choice('a'))});
    }), pick.mode),
    pick.stage, pick.slider, pick.flip, pick.legend, pick.table,
    el('p', {class: 'note keys'}, 'Drag or arrow keys move, double click, + and − zoom, F flips, 0 fits; with Ctrl, the wheel zooms.'), pick.status);
  $('#viewer').hidden = false;
  watch(['image', 'at', 'a', 'b', 'anchor', 'mode'], showPictures);
  watch(['zoom', 'x', 'y'], () => { placeView(); drawStage(); });
  onResize(pick.stage, () => { placeView(); drawStage(); });
  // Nothing is decoded before somebody comes near.
  new IntersectionObserver((seen, observer) => {
    if (seen.some((one) => one.isIntersecting)) {
      observer.disconnect();
      stage.awake = true;
      showPictures();
    }
  }, {rootMargin: '400px'}).observe(host);
}

const PANES = {
  slider: () => ['A left, B right'], flip: () => ['A and B in turn'],
  side: () => ['A', 'Original', 'B'], difference: () => ['Difference of A and original', 'Difference of B and original'],
};

function buildPanes() {
  if (stage.mode === state.mode) return;
  stage.mode = MODES.some(([mode]) => mode === state.mode) ? state.mode : 'slider';
  stage.panes = PANES[stage.mode]().map(makePane);
  stage.pick.stage.className = `stage ${stage.mode}`;
  stage.pick.stage.replaceChildren(...stage.panes.map((pane) => el('figure', {}, pane.canvas, el('figcaption'))));
  for (const pane of stage.panes) {
    steer(pane.canvas, setView, (key) => {
      if (key === '0') update({zoom: '', x: '', y: ''});
      else if (key === '1') setView(1, view.x, view.y);
      else if (key === 'f' || key === 'F' || key === ' ') flip();
      else return false;
      return true;
    });
  }
  stage.pick.slider.hidden = stage.mode !== 'slider';
  stage.pick.flip.hidden = stage.mode !== 'flip';
}

let turn = 0;

async function showPictures() {
  if (!stage.awake) return;
  const mine = ++turn;
  const image = galleryImage();
  const places = {a: choice('a'), b: choice('b'), original: -1};
  const {pick} = stage;
  pick.imageSelect.value = image;
  pick.aSelect.value = places.a < 0 ? 'original' : data.codecs[places.a].name;
  pick.bSelect.value = places.b < 0 ? 'original' : data.codecs[places.b].name;
  setSegment(pick.rate, data.gallery.rates[rateIndex()]);
  setSegment(pick.mode, state.mode);
  buildPanes();
  pick.table.replaceChildren(measuredTable(image, [places.a, places.b]));
  const found = {};
  for (const [which, place] of Object.entries(places)) {
    found[which] = await sourceOf(image, place).catch(() => null);
  }
  const around = {image: await load(pictureOf(image).preview), size: [data.images[image].width, data.images[image].height]};
  if (mine !== turn) return;
  Object.assign(stage, {sources: found, around, image, places});
  const missing = ['a', 'b'].filter((which) => !found[which]).map((which) => which.toUpperCase());
  pick.status.textContent = missing.length ? `No picture of ${missing.join(' and ')} at this rate in this file.` : '';
  placeView();
  drawStage();
}

// Zoom and centre from the address, or such that everything fits.
function placeView() {
  const first = stage.panes[0]?.canvas;
  if (!first || !stage.sources) return;
  const source = stage.sources.original ?? stage.sources.a ?? stage.sources.b;
  if (!source) return;
  const [left, top, w, h] = source.box;
  const whole = Math.min(first.clientWidth / w, first.clientHeight / h) * pixelRatio();
  const fit = whole >= 1 ? Math.floor(whole) : whole;
  const given = Number(state.zoom);
  view.zoom = given >= ZOOMS[0] && given <= ZOOMS.at(-1) ? given : fit;
  view.x = state.x === '' ? left + w / 2 : Number(state.x) || 0;
  view.y = state.y === '' ? top + h / 2 : Number(state.y) || 0;
}

function setView(zoom, x, y) {
  const {width, height} = data.images[galleryImage()];
  const inside = (value, size) => Math.round(10 * Math.min(Math.max(value, 0), size)) / 10;
  update({zoom, x: inside(x, width), y: inside(y, height)});
}

function flip() {
  if (stage.mode !== 'flip') return;
  stage.flipped = (stage.flipped + 1) % 3;
  drawStage();
}

const sourceName = (place) => (place < 0 ? 'Original' : data.codecs[place].label);

function drawStage() {
  if (!stage.places) return;
  const {sources, around, places, pick, panes} = stage;
  const captions = $$('figcaption', pick.stage);
  pick.zoom.textContent = `${figures(100 * view.zoom)}\u00a0%`;
  const order = ['a', 'b', 'original'];
  const names = {a: `A: ${sourceName(places.a)}`, b: `B: ${sourceName(places.b)}`, original: 'Original'};
  let shown = [];
  if (stage.mode === 'slider') {
    drawSplit(panes[0], sources.a, sources.b, around, stage.share);
    captions[0].replaceChildren(el('span', {}, names.a), el('span', {}, names.b));
  } else if (stage.mode === 'side') {
    shown = ['a', 'original', 'b'];
    shown.forEach((which, i) => drawPlain(panes[i], sources[which], around));
  } else if (stage.mode === 'flip') {
    shown = [order[stage.flipped]];
    drawPlain(panes[0], sources[shown[0]], around);
    pick.flip.textContent = `Shown: ${names[shown[0]]}. Flip (F)`;
  } else {
    shown = ['a', 'b'];
    shown.forEach((which, i) => drawDifference(panes[i], sources[which], sources.original));
  }
  shown.forEach((which, i) => { captions[i].textContent = names[which]; });
  const whole = sources.original?.whole;
  pick.legend.textContent = (stage.mode === 'difference'
    ? `Mean absolute difference from the original over R, G and B: black 0, brightest ${HEAT_FULL} of 255 or more. ` : '')
    + (whole ? '' : stage.mode === 'difference' ? '' : `The crop is ${pictureOf(stage.image).box.slice(2).join(' × ')} pixels of ${around.size.join(' × ')}; around it, a faint preview of the original.`);
}

function measuredTable(image, places) {
  const rate = data.gallery.rates[rateIndex()];
  const shown = data.metrics.map((one, column) => [one, column]).filter(([one]) => hasCurves(one));
  const rows = places.map((place, i) => {
    const name = `${'AB'[i]}: ${sourceName(place)}`;
    const file = place < 0 ? null : fileOf(image, place);
    if (!known(file)) return [name, '–', '–', '–', ...shown.map(() => '–')];
    const [bpp, ...values] = pictureOf(image).values[file];
    return [name, pointName(file), fixed(bpp, 4), `× ${fixed(bpp / rate, 2)}`,
      ...shown.map(([one, column]) => plainValue(one, values[column]))];
  });
  return table(`${data.images[image].name} at the operating points nearest to ${rate} bits per pixel`,
    ['Shown', 'Point', 'bpp', 'of the rate', ...shown.map(([one]) => one.label)], rows);
}
