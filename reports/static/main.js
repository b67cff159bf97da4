// Putting it together.

function makeControls() {
  const form = $('#controls');
  if (!form) return;
  form.addEventListener('submit', (event) => event.preventDefault());
  const select = $('#anchor');
  select.addEventListener('change', () => update({anchor: data.anchors[select.value].name}));
  for (const input of $$('#metric input')) {
    input.addEventListener('change', () => update({metric: input.value}));
    input.disabled = !hasCurves(metricsByName.get(input.value));
  }
  for (const input of $$('#codecs input')) {
    input.addEventListener('change', () => {
      const hidden = listed(state.hidden);
      const {name} = data.codecs[input.value];
      if (input.checked) hidden.delete(name);
      else hidden.add(name);
      update({hidden: list(hidden)});
    });
  }
  const draw = () => {
    select.value = anchorIndex();
    for (const input of $$('#metric input')) input.checked = input.value === metric().name;
    for (const input of $$('#codecs input')) input.checked = isShown(Number(input.value));
  };
  watch(['anchor', 'metric', 'hidden'], draw);
  draw();
  form.hidden = false;
}

// Links within the page go to their sections and leave the rest of the address alone.
function makeLinks() {
  for (const link of $$('a[href^="#"]')) {
    link.addEventListener('click', (event) => {
      const target = document.getElementById(link.getAttribute('href').slice(1));
      if (!target) return;
      event.preventDefault();
      target.scrollIntoView();
      target.setAttribute('tabindex', '-1');
      target.focus({preventScroll: true});
    });
  }
}

const first = data.metrics.find(hasCurves) ?? data.metrics[0];
DEFAULTS.metric = first?.name ?? '';
Object.assign(state, recall());
document.documentElement.classList.add('scripted');
for (const node of $$('[data-scripted]')) if (node.tagName !== 'INPUT' && node.id !== 'viewer') node.hidden = false;
makeControls();
makeLinks();
makeVerdict();
makeCopying();
makeCurves();
makeRelative();
makeWins();
makeViewer();
makeStreams();
makeCosts();
window.addEventListener('hashchange', () => update(recall()));
if (state.image) $('#look')?.scrollIntoView();
