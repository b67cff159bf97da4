// What one participant is asked, in which order, and which picture stands on the left: all of it
// follows from the participant's seed.

const data = JSON.parse(document.getElementById('data').textContent);

// Mulberry32: numbers in [0, 1) from a seed of 32 bits.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

// Fisher and Yates.
function shuffled(list, random) {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}

// Whole blocks, in each of which every pair of codecs occurs once, and a part of a last one; an
// attention check somewhere in each of as many equal stretches as there are checks.
function plan(seed) {
  const random = generator(seed);
  const pairs = shuffled(data.blocks, random).flatMap((block) => shuffled(block, random));
  const asked = pairs.slice(0, data.trials);
  const checks = shuffled(data.checks, random);
  const stretch = asked.length / checks.length;
  const all = checks.flatMap((check, i) => {
    const part = asked.slice(Math.round(i * stretch), Math.round((i + 1) * stretch));
    part.splice(Math.floor(random() * (part.length + 1)), 0, check);
    return part;
  });
  return all.map((pair) => (random() < 0.5 ? pair : [pair[1], pair[0]]));
}
