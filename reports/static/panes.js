// Pictures on canvases that share one view: zoom and centre in pixels of the picture.

const ZOOMS = [0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
const pixelRatio = () => window.devicePixelRatio || 1;

// The view of all panes: `zoom` in screen pixels for each pixel of the picture.
const view = {zoom: 1, x: 0, y: 0};

function makePane(label) {
  const canvas = el('canvas', {tabindex: 0, role: 'img', 'aria-label': label});
  return {canvas, draw: () => {}};
}

function sizePane(pane) {
  const {clientWidth, clientHeight} = pane.canvas;
  const width = Math.max(1, Math.round(clientWidth * pixelRatio()));
  const height = Math.max(1, Math.round(clientHeight * pixelRatio()));
  if (pane.canvas.width !== width) pane.canvas.width = width;
  if (pane.canvas.height !== height) pane.canvas.height = height;
  return [width, height];
}

// Draws a picture: `source` is {image, box}, `box` its place in the whole picture.
function paint(context, source, width, height) {
  const [left, top, w, h] = source.box;
  context.imageSmoothingEnabled = view.zoom < 1;
  const x = Math.round(width / 2 + (left - view.x) * view.zoom);
  const y = Math.round(height / 2 + (top - view.y) * view.zoom);
  context.drawImage(source.image, x, y, Math.round(w * view.zoom), Math.round(h * view.zoom));
}

// The rest of the picture, faint: where the crop was taken from.
function paintAround(context, around, width, height) {
  if (!around) return;
  context.save();
  context.globalAlpha = 0.22;
  context.imageSmoothingEnabled = true;
  const [w, h] = around.size;
  context.drawImage(around.image, width / 2 - view.x * view.zoom, height / 2 - view.y * view.zoom, w * view.zoom, h * view.zoom);
  context.restore();
}

function drawPlain(pane, source, around) {
  const [width, height] = sizePane(pane);
  const context = pane.canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  paintAround(context, source?.whole ? null : around, width, height);
  if (source) paint(context, source, width, height);
}

// Left of the divider one picture, right of it the other.
function drawSplit(pane, left, right, around, share) {
  const [width, height] = sizePane(pane);
  const context = pane.canvas.getContext('2d');
  const at = Math.round(width * share);
  context.clearRect(0, 0, width, height);
  paintAround(context, left?.whole ? null : around, width, height);
  for (const [source, from, to] of [[left, 0, at], [right, at, width]]) {
    if (!source) continue;
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, height);
    context.clip();
    paint(context, source, width, height);
    context.restore();
  }
  context.fillStyle = '#fff';
  context.fillRect(at - 1, 0, 2, height);
  context.fillStyle = 'rgba(0,0,0,.55)';
  context.fillRect(at - 2, 0, 1, height);
  context.fillRect(at + 1, 0, 1, height);
}

// Absolute difference; a filter of the page turns it into a heat map without reading pixels,
// which a browser forbids for pictures beside a local file.
function drawDifference(pane, source, original) {
  const [width, height] = sizePane(pane);
  const context = pane.canvas.getContext('2d');
  context.globalCompositeOperation = 'source-over';
  context.fillStyle = '#000';
  context.fillRect(0, 0, width, height);
  if (!source || !original) return;
  paint(context, source, width, height);
  context.globalCompositeOperation = 'difference';
  paint(context, original, width, height);
  context.globalCompositeOperation = 'source-over';
}

const HEAT = {
  r: '0 .15 .36 .58 .78 .93 .98 .98 .99',
  g: '0 .04 .07 .15 .25 .41 .62 .82 1',
  b: '0 .26 .43 .40 .29 .15 .04 .20 .64',
};
const HEAT_FULL = 32; // steps of 255 that are drawn brightest

function heatFilter() {
  const gain = (255 / HEAT_FULL / 3).toFixed(4);
  const row = `${gain} ${gain} ${gain} 0 0`;
  return svg('svg', {class: 'offscreen', 'aria-hidden': 'true', width: 0, height: 0},
    svg('filter', {id: 'heat', 'color-interpolation-filters': 'sRGB', x: 0, y: 0, width: '100%', height: '100%'},
      svg('feColorMatrix', {type: 'matrix', values: `${row} ${row} ${row} 0 0 0 0 1`}),
      svg('feComponentTransfer', {}, Object.entries(HEAT).map(([channel, values]) =>
        svg(`feFunc${channel.toUpperCase()}`, {type: 'table', tableValues: values})))));
}

// Pointer and keys; `moved(zoom, x, y)` is told the view that is asked for.
function steer(canvas, moved, keys) {
  let drag = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left - box.width / 2) * pixelRatio(), (event.clientY - box.top - box.height / 2) * pixelRatio()];
  };
  const zoomAt = (factor, [px, py]) => {
    const zoom = stepZoom(factor);
    moved(zoom, view.x + px / view.zoom - px / zoom, view.y + py / view.zoom - py / zoom);
  };
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    drag = [event.clientX, event.clientY, view.x, view.y];
  });
  canvas.addEventListener('pointermove', (event) => {
    if (!drag) return;
    const scaleBy = pixelRatio() / view.zoom;
    moved(view.zoom, drag[2] - (event.clientX - drag[0]) * scaleBy, drag[3] - (event.clientY - drag[1]) * scaleBy);
  });
  for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener('dblclick', (event) => zoomAt(event.shiftKey ? -1 : 1, at(event)));
  canvas.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    zoomAt(event.deltaY < 0 ? 1 : -1, at(event));
  }, {passive: false});
  canvas.addEventListener('keydown', (event) => {
    const step = 48 / view.zoom;
    const pan = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]}[event.key];
    if (pan) moved(view.zoom, view.x + pan[0], view.y + pan[1]);
    else if (event.key === '+' || event.key === '=') zoomAt(1, [0, 0]);
    else if (event.key === '-') zoomAt(-1, [0, 0]);
    else if (!keys(event.key)) return;
    event.preventDefault();
  });
}

// The next rounder zoom up or down.
function stepZoom(direction) {
  return direction > 0
    ? ZOOMS.find((zoom) => zoom > view.zoom * 1.01) ?? ZOOMS.at(-1)
    : ZOOMS.findLast((zoom) => zoom < view.zoom * 0.99) ?? ZOOMS[0];
}
