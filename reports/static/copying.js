// The table of verdicts as it is shown, for other programs.

const ESCAPES = {
  latex: {'\\': '\\textbackslash{}', '{': '\\{', '}': '\\}', $: '\\$', '&': '\\&', '#': '\\#',
    '%': '\\%', _: '\\_', '^': '\\textasciicircum{}', '~': '\\textasciitilde{}', '<': '\\textless{}',
    '>': '\\textgreater{}', '|': '\\textbar{}', '"': '\\textquotedbl{}', '\u0060': '\\textasciigrave{}',
    "'": '\\textquotesingle{}', '…': '\\dots{}', '–': '--', '×': '$\\times$', [MINUS]: '$-$',
    '[': '{[}', ']': '{]}'},
};
const latexText = (text) => [...text].map((c) => ESCAPES.latex[c] ?? c).join('');
const markdownText = (text) => text.replace(/[\\\u0060*_[\]<>|@~#!]/g, '\\$&');

// What a spreadsheet would take for a formula becomes text.
function csvText(text) {
  const plain = /^\s*[=+\-@|%]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

const csvNumber = (value) => (known(value) ? value.toFixed(3) : '');

const COPIES = {
  markdown() {
    const line = (cells) => `| ${cells.join(' | ')} |`;
    const head = ['Codec', ...data.metrics.map((m) => markdownText(heading(m)))];
    return [
      `BD-rate against ${markdownText(anchor().label)} on ${markdownText(data.dataset)}, 95 % interval; less is better`, '',
      line(head), `|${'---|'.repeat(head.length)}`,
      ...shownRows().map((row) => line([markdownText(data.codecs[row.codec].label),
        ...row.cells.map((cell) => markdownText([cell.value, cell.interval, cell.remark].filter(Boolean).join(' ')))])),
    ].join('\n') + '\n';
  },
  csv() {
    const lines = ['anchor,codec,label,metric,bd_rate_percent,low,high,status'];
    for (const row of shownRows()) {
      const codec = data.codecs[row.codec];
      row.cells.forEach((cell, i) => lines.push([anchor().name, codec.name, codec.label, data.metrics[i].name].map(csvText)
        .concat(cell.percent.map(csvNumber), csvText(cell.status)).join(',')));
    }
    return lines.join('\n') + '\n';
  },
  latex() {
    const cells = (cell) => (known(cell.percent[0])
      ? `$${cell.value.replace(' %', '')}$${cell.interval ? ` {\\scriptsize $ ${cell.interval} $}` : ''}`
      : latexText(cell.value));
    return [
      '% \\usepackage{booktabs}, \\usepackage[T1]{fontenc}, \\usepackage{textcomp}',
      '\\begin{table}', '\\centering',
      `\\caption{BD-rate in percent against ${latexText(anchor().label)} on ${latexText(data.dataset)}, with 95\\,\\% intervals.}`,
      `\\begin{tabular}{l${'r'.repeat(data.metrics.length)}}`, '\\toprule',
      `Codec & ${data.metrics.map((m) => latexText(m.label)).join(' & ')} \\\\`, '\\midrule',
      ...shownRows().map((row) => `${latexText(data.codecs[row.codec].label)} & ${row.cells.map(cells).join(' & ')} \\\\`),
      '\\bottomrule', '\\end{tabular}', '\\end{table}', '',
    ].join('\n');
  },
};

function makeCopying() {
  for (const button of $$('#copy button')) {
    button.addEventListener('click', async () => {
      const text = COPIES[button.value]();
      const done = await copy(text);
      $('#copied').textContent = done ? `${button.textContent} copied.` : 'Select and copy:';
      $('#copy-text')?.remove();
      if (!done) {
        const box = el('textarea', {id: 'copy-text', readonly: true, rows: 8, 'aria-label': 'The table as text'});
        box.value = text;
        $('#copy').append(box);
        box.select();
      }
    });
  }
}

// The asynchronous clipboard is not there for every file: the old way is.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = el('textarea', {readonly: true, class: 'offscreen', 'aria-hidden': 'true'});
    box.value = text;
    document.body.append(box);
    box.select();
    const done = document.execCommand('copy');
    box.remove();
    return done;
  }
}
