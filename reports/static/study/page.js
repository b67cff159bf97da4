// The three views (welcome, trial, end) and what can be done in them.

const $ = (id) => document.getElementById(id);
const HOUR = 3600000;
let state = remembered();
let asked = [];
let shownAt = null;
let serial = 0;

function view(name) {
  for (const id of ['welcome', 'trial', 'end']) $(id).hidden = id !== name;
}

function source(item) {
  return data.items[item].file || data.pictures[data.items[item].picture].original;
}

async function ask() {
  const number = state.votes.length;
  if (number >= asked.length) return finish('Thank you', 'You have answered everything.', false);
  view('trial');
  const [left, right] = asked[number];
  const turn = ++serial;
  ready(null);
  const picture = data.pictures[data.items[left].picture];
  for (const [id, item] of [['left', left], ['right', right]]) {
    $(id).width = picture.width;
    $(id).height = picture.height;
    $(id).dataset.file = source(item);
  }
  original(false);
  $('progress').textContent = `Pair ${number + 1} of ${asked.length}`;
  $('bar').setAttribute('aria-valuemax', asked.length);
  $('bar').setAttribute('aria-valuenow', number);
  $('done-part').setAttribute('width', `${100 * number / asked.length}%`);
  $('undo').disabled = number === 0;
  await Promise.all([$('left').decode(), $('right').decode()]).catch(() => null);
  if (turn === serial) ready(performance.now());
  const next = asked[number + 1];
  if (next) for (const item of next) new Image().src = source(item);
}

// Both pictures stand there since some time; null while they are being decoded.
function ready(time) {
  shownAt = time;
  $('left').dataset.ready = time !== null;
}

// Show the original in both places, or the two pictures again.
function original(on) {
  const picture = data.items[asked[state.votes.length][0]].picture;
  for (const [id, name] of [['left', 'A'], ['right', 'B']]) {
    const file = on ? data.pictures[picture].original : $(id).dataset.file;
    if ($(id).src !== file) $(id).src = file;
    $(id).alt = on ? 'The original' : `Picture ${name}`;
    $(`${id}-name`).textContent = on ? 'Original' : name;
  }
  $('show-original').setAttribute('aria-pressed', on);
}

function originalShown() {
  return $('show-original').getAttribute('aria-pressed') === 'true';
}

function choose(side) {
  if (shownAt === null) return;
  const [left, right] = asked[state.votes.length];
  const shown = $('left').getBoundingClientRect().width * devicePixelRatio;
  state.votes.push({
    left,
    right,
    chosen: side === 'left' ? left : right,
    milliseconds: Math.round(Math.min(performance.now() - shownAt, HOUR)),
    scale: Math.round(1000 * shown / $('left').naturalWidth) / 1000,
  });
  keep(state);
  ask();
}

function undo() {
  if (!state.votes.length) return;
  state.votes.pop();
  keep(state);
  ask();
}

function finish(title, text, pausing) {
  serial += 1;
  view('end');
  $('end-title').textContent = title;
  $('end-text').textContent = text;
  $('file-name').textContent = fileName(state);
  $('resume').hidden = !pausing;
  $('take-back').hidden = pausing || !state.votes.length;
  $('download').disabled = !state.votes.length;
  $('told').textContent = '';
  $('end-title').focus();
}

function pause() {
  const where = kept
    ? 'They stay in this browser: open the page again to go on.'
    : 'This browser does not keep them: leave the page open, or download what you have.';
  finish('Pause', `${state.votes.length} of ${asked.length} answers given. ${where}`, true);
}

function start() {
  state = state || somebody();
  asked = plan(state.seed);
  keep(state);
  ask();
  $('question').focus();
}

function welcome() {
  view('welcome');
  const begun = state !== null && state.votes.length > 0;
  $('count').textContent = data.trials + data.checks.length;
  $('kept').hidden = $('anew').hidden = !begun;
  $('kept-count').textContent = begun ? state.votes.length : '';
  $('start').textContent = begun ? 'Go on' : 'Begin';
}

const actions = {
  start,
  anew: () => { state = null; start(); },
  'choose-left': () => choose('left'),
  'choose-right': () => choose('right'),
  'show-original': () => original(!originalShown()),
  undo,
  pause,
  resume: () => { ask(); $('question').focus(); },
  'take-back': undo,
  download: () => {
    download(state);
    $('told').textContent = `${state.votes.length} answers downloaded.`;
  },
};
for (const [id, act] of Object.entries(actions)) $(id).addEventListener('click', act);

for (const id of ['left', 'right']) {
  $(id).addEventListener('pointerdown', (event) => {
    $(id).setPointerCapture(event.pointerId);
    original(true);
  });
  for (const end of ['pointerup', 'pointercancel']) {
    $(id).addEventListener(end, () => original(false));
  }
  $(id).addEventListener('contextmenu', (event) => event.preventDefault());
}

const keys = {
  ArrowLeft: actions['choose-left'],
  ArrowRight: actions['choose-right'],
  o: actions['show-original'],
  z: undo,
};
addEventListener('keydown', (event) => {
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const plain = !(event.repeat || event.ctrlKey || event.metaKey || event.altKey);
  if ($('trial').hidden || !act || !plain) return;
  event.preventDefault();
  act();
});
addEventListener('beforeunload', (event) => {
  if (!kept && state?.votes.length) event.preventDefault();
});

welcome();
