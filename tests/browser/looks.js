// What a person could not read in an element: texts too dim for their background, and parts that are cut off or overlap.
window.looks = (() => {
  const parse = text => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    const scale = text.startsWith('color(') ? 255 : 1;  // color(srgb 0.1 0.2 0.3), as mixed colors are computed
    return { rgb: [r, g, b].map(value => value * scale), a };
  };
  const over = (top, below) => top.rgb.map((value, at) => value * top.a + below[at] * (1 - top.a));
  const luminance = rgb => {  // WCAG 2.2, relative luminance
    const [r, g, b] = rgb.map(value => value / 255).map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const background = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = parse(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer.a === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const opacity = element => {
    let found = 1;
    for (let at = element; at; at = at.parentElement) found *= Number(getComputedStyle(at).opacity);
    return found;
  };
  const seen = element => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && element.getBoundingClientRect().width > 2;
  // inactive controls are exempt (WCAG 1.4.3), with the labels that belong to them; pictures are looked at
  const exempt = element =>
    element.closest('svg, canvas, .jupyter-matplotlib, :disabled, .wb-field:has(:disabled), .wb-check:has(input:disabled), [aria-hidden=true]');
  const name = element => `${element.tagName.toLowerCase()}.${[...element.classList].join('.')}`;

  const dim = (root, least) => {
    const found = new Map();
    const check = (element, text, style) => {
      if (!text.trim() || !seen(element) || exempt(element)) return;
      const color = parse(style.color);
      const behind = background(element);
      const shown = over({ rgb: color.rgb, a: color.a * opacity(element) }, behind);
      const contrast = ratio(shown, behind);
      if (contrast < least) found.set(`${name(element)} ${style.color} on ${behind.map(Math.round)}: ${contrast.toFixed(2)}`, text.trim().slice(0, 40));
    };
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const element = node.parentElement;
      if (!['STYLE', 'OPTION', 'SCRIPT'].includes(element.tagName)) check(element, node.data, getComputedStyle(element));
    }
    for (const field of root.querySelectorAll('input, select, textarea')) {
      if (field.placeholder && !field.value) check(field, field.placeholder, getComputedStyle(field, '::placeholder'));
      else if (field.type !== 'checkbox') check(field, field.value || 'value', getComputedStyle(field));
    }
    return [...found].map(([what, text]) => `${what} "${text}"`);
  };

  const cut = root => {
    const found = [];
    if (root.scrollWidth > root.clientWidth + 2) found.push(`wider than its place by ${root.scrollWidth - root.clientWidth} px`);
    const parts = [...root.querySelectorAll('button, a, select, input, summary, label, h3, h4, .wb-hint, .wb-label')].filter(
      part => seen(part) && !part.closest('.wb-sorted thead, .jupyter-matplotlib'),
    );
    for (const part of parts) {
      if (part.matches('button, a, summary, label, h3, h4') && part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== 'visible') {
        found.push(`cut off: ${name(part)} "${part.textContent.trim()}"`);
      }
    }
    const inner = parts.map(part => [part, part.getBoundingClientRect()]);
    for (let one = 0; one < inner.length; one += 1) {
      for (let other = one + 1; other < inner.length; other += 1) {
        const [[a, p], [b, q]] = [inner[one], inner[other]];
        if (a.contains(b) || b.contains(a)) continue;
        const width = Math.min(p.right, q.right) - Math.max(p.left, q.left);
        const height = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
        if (width > 2 && height > 2) found.push(`overlap: ${name(a)} "${a.textContent.trim().slice(0, 20)}" and ${name(b)} "${b.textContent.trim().slice(0, 20)}"`);
      }
    }
    return found;
  };
  return { dim, cut };
})();
