// The table of verdicts as the exported files have it, without the codecs that are switched off.

function copyOf(format) {
  const [head, rows, tail] = anchor().copies[format];
  const shown = rows.filter((_, i) => isShown(anchor().rows[i].codec));
  return [head, ...shown, tail].filter(Boolean).join('\n') + '\n';
}

function makeCopying() {
  for (const button of $$('#copy button')) {
    button.addEventListener('click', async () => {
      const text = copyOf(button.value);
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
