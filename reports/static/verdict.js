// Ranking and table of verdicts, under any anchor: drawn beforehand, shown and put in order here.

function makeVerdict() {
  const body = $('#verdict-body');
  if (!body) return;
  const first = [...body.childNodes];
  const place = () => {
    const other = $(`template[data-anchor="${anchorIndex()}"]`);
    body.replaceChildren(...(other ? other.content.cloneNode(true).childNodes : first));
    for (const node of $$('[data-anchor-label]')) node.textContent = anchor().label;
    arrange(body);
  };
  watch(['anchor'], place);
  watch(['metric', 'hidden'], () => arrange(body));
  place();
}

// The chosen metric's order, and the codecs that are switched on.
function arrange(body) {
  const column = data.metrics.indexOf(metric());
  const rank = (row) => Number(row.dataset.ranks.trim().split(' ')[column]);
  const rows = $$('.ranking li', body).sort((a, b) => rank(a) - rank(b));
  $('.ranking ol', body).append(...rows);
  for (const row of $$('[data-codec]', body)) row.hidden = !isShown(Number(row.dataset.codec));
  const last = rows.filter((row) => !row.hidden || row.matches('.rule')).at(-1);
  for (const row of rows) if (row.matches('.rule')) row.hidden = row === last;
  for (const node of $$('[data-m]', body)) node.toggleAttribute('hidden', node.dataset.m !== String(column));
  for (const row of $$('#verdict-table tr')) {
    [...row.children].forEach((cell, i) => cell.classList.toggle('chosen', i === column + 1));
  }
  for (const node of $$('[data-metric-label]')) node.textContent = metric().label;
}
