// The participant's answers: kept in this browser where it lets us, and written to a file.

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const PLACE = 'study-' + data.study;
let kept = true;

function somebody() {
  const drawn = crypto.getRandomValues(new Uint32Array(9));
  const code = [...drawn.slice(1)].map((number) => LETTERS[number % 32]).join('');
  return {code, seed: drawn[0], votes: []};
}

function keep(state) {
  try {
    localStorage.setItem(PLACE, JSON.stringify(state));
  } catch {
    kept = false;
  }
}

// The state that was kept; null where there is none, or where it is not one of ours.
function remembered() {
  try {
    const state = JSON.parse(localStorage.getItem(PLACE));
    const asked = plan(state.seed);
    const fits = /^[A-Z2-7]{8}$/.test(state.code) && state.votes.length <= asked.length
      && state.votes.every((vote, i) => vote.left === asked[i][0] && vote.right === asked[i][1]);
    return fits ? state : null;
  } catch {
    return null;
  }
}

function fileName(state) {
  return `votes-${data.study}-${state.code}.json`;
}

function download(state) {
  const document_ = {
    kind: 'codec-bench votes',
    format: 1,
    study: data.study,
    participant: state.code,
    seed: state.seed,
    screen: {width: innerWidth, height: innerHeight, ratio: devicePixelRatio},
    votes: state.votes,
  };
  const file = new Blob([JSON.stringify(document_, null, 1)], {type: 'application/json'});
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = fileName(state);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
