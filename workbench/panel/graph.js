const root = this.closest('.wb-walk'), frame = root.querySelector('.wb-graph-frame'), svg = frame.querySelector('svg');
const about = root.querySelector('.wb-about'), found = root.querySelector('.wb-found'), search = root.querySelector('input');
const boxes = [...svg.querySelectorAll('g[data-nodes]')], values = JSON.parse(root.dataset.values || '{}');
const [width, height] = ['width', 'height'].map(name => Number(svg.getAttribute(name)));
const FORMATS = { fp32: '#cfe2ff', fp16: '#cdeede', bf16: '#c9f0f2', int8: '#ffe0cc', uint8: '#ffe0cc', fp8: '#ffd3df', int4: '#fff2b3' };
let scale = 1, hits = [], at = -1;
const text = box => box.querySelector('title').textContent;
const layers = box => [...new Map(box.dataset.nodes.split('\n').filter(name => name in values).map(name => [values[name][0], values[name]])).values()];
const zoom = (wanted, x = frame.clientWidth / 2, y = frame.clientHeight / 2) => {
  const next = Math.min(8, Math.max(0.1, wanted)), ratio = next / scale, left = frame.scrollLeft, top = frame.scrollTop;
  svg.setAttribute('width', width * next);
  svg.setAttribute('height', height * next);
  scale = next;
  frame.scrollTo((left + x) * ratio - x, (top + y) * ratio - y);
};
const choose = box => {
  boxes.forEach(each => each.classList.toggle('wb-chosen', each === box));
  const timed = layers(box).map(([, name, share, ms, format]) => `${name}: ${ms ? `${ms.toFixed(4)} ms, ${share.toFixed(1)} % of the call` : 'not timed'}${format ? `, ${format}` : ''}`);
  about.textContent = [text(box), ...(timed.length ? ['', 'In the engine:', ...timed] : [])].join('\n');
};
const reveal = box => {
  const inner = box.getBoundingClientRect(), outer = frame.getBoundingClientRect();
  frame.scrollBy(inner.x + inner.width / 2 - outer.x - outer.width / 2, inner.y + inner.height / 2 - outer.y - outer.height / 2);
  choose(box);
};
const find = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = words.length ? boxes.filter(box => words.every(word => `${text(box)} ${box.dataset.nodes}`.toLowerCase().includes(word))) : [];
  at = -1;
  boxes.forEach(box => box.classList.toggle('wb-dim', words.length > 0 && !hits.includes(box)));
  found.textContent = words.length ? `${hits.length} of ${boxes.length} boxes; Enter shows the next` : '';
};
const paint = way => {
  const shares = boxes.map(box => layers(box).reduce((sum, layer) => sum + layer[2], 0)), most = Math.max(...shares, 1e-9);
  boxes.forEach((box, place) => {
    const rect = box.querySelector('rect'), formats = layers(box).map(layer => layer[4]).filter(Boolean);
    rect.dataset.fill = rect.dataset.fill || rect.getAttribute('fill');
    const hue = way === 'time' ? `rgb(255 ${Math.round(255 - 130 * shares[place] / most)} ${Math.round(255 - 220 * shares[place] / most)})`
      : way === 'precision' ? FORMATS[formats[0]] || '#ffffff' : rect.dataset.fill;
    rect.setAttribute('fill', hue);
  });
  found.textContent = way === 'time' ? 'the darker, the more of the call' : way === 'precision' ? [...new Set(boxes.flatMap(box => layers(box).map(layer => layer[4])).filter(Boolean))].join(', ') : '';
};
boxes.forEach(box => {
  box.setAttribute('tabindex', 0);
  box.setAttribute('role', 'button');
  box.setAttribute('aria-label', text(box).split('\n')[0]);
  box.addEventListener('click', () => choose(box));
  box.addEventListener('keydown', event => { if (event.key === 'Enter') choose(box); });
});
svg.removeAttribute('role');
root.querySelectorAll('[data-zoom]').forEach(button => button.addEventListener('click', () => {
  const how = button.dataset.zoom;
  zoom(how === 'fit' ? (frame.clientWidth - 18) / width : how === 'one' ? 1 : scale * Number(how));
}));
frame.addEventListener('wheel', event => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const place = frame.getBoundingClientRect();
  zoom(scale * Math.exp(-event.deltaY / 300), event.x - place.x, event.y - place.y);
}, { passive: false });
let held = null;
frame.addEventListener('pointerdown', event => { held = [event.x, event.y, frame.scrollLeft, frame.scrollTop]; });
frame.addEventListener('pointermove', event => {
  if (held && event.buttons) frame.scrollTo(held[2] + held[0] - event.x, held[3] + held[1] - event.y);
});
search.addEventListener('input', find);
search.addEventListener('keydown', event => {
  event.stopPropagation();
  if (event.key === 'Enter' && hits.length) reveal(hits[at = (at + 1) % hits.length]);
});
const way = root.querySelector('select');
if (way) way.addEventListener('change', () => paint(way.value));
