// What is wrong with the page as it is shown now: what is wider than the screen (`scroll`, `wide`), text that is too
// pale (WCAG's AA), drawings without a name, ids that are there twice, links to nowhere.
(() => {
  const wide = [];
  const screen = document.documentElement.clientWidth;
  const scrolls = (element) => element.closest(".scroll, pre, nav ol");
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && box.right > screen + 0.5 && !scrolls(element) && !element.matches(".skip")) {
      wide.push(`${element.tagName}.${element.className?.baseVal ?? element.className}: ${box.right}`);
    }
  }

  const channels = (text) => {
    const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    const of_one = text.startsWith("color(");
    const [r, g, b] = numbers.slice(0, 3).map((value) => (of_one ? value : value / 255));
    return [r, g, b, numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (front, back) => [0, 1, 2].map((at) => front[at] * front[3] + back[at] * (1 - front[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
    return layers.reduceRight((back, layer) => over(layer, back), [1, 1, 1]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pale = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const front = over(channels(element instanceof SVGElement ? style.fill : style.color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 600) ? 3 : 4.5;
    if (ratio < needed) pale.add(`${ratio.toFixed(2)}: ${element.tagName} ${node.textContent.trim().slice(0, 40)}`);
  }
  const unnamed = [...document.querySelectorAll("svg:not([aria-hidden]):not([aria-label])")].map((svg) => svg.outerHTML);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  const dangling = [...document.querySelectorAll("a")].map((link) => link.hash.slice(1)).filter((id) => !ids.includes(id));
  const scroll = document.documentElement.scrollWidth > screen ? [document.documentElement.scrollWidth] : [];
  return { scroll, wide, pale: [...pale], unnamed, twice, dangling };
})();
