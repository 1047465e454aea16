// The paths of the recommendations as one tree, from the whole catalogue to single items.

import { bar, count, element, items, percent } from "./element.js";

const WIDE = 4; // levels that fit side by side; deeper trees are indented

// Recommendations with the same first codes share a branch; branches are in the order of their best item. Codes at the
// end of a path that decide nothing are left out.
export function grow(recommendations) {
  const root = { children: new Map(), found: [] };
  recommendations.forEach((found, place) => {
    let node = root;
    for (const step of deciding(found.path ?? [])) {
      if (!node.children.has(step.code)) node.children.set(step.code, { step, children: new Map(), found: [] });
      node = node.children.get(step.code);
    }
    if (node !== root) node.found.push({ ...found, rank: place + 1 });
  });
  return root;
}

const deciding = (path) => path.slice(0, 1 + Math.max(0, path.findLastIndex((step) => step.decides)));

export function treeOf(answer, model) {
  const root = grow(answer.recommendations);
  if (!root.children.size) {
    return element("p", { class: "quiet" }, "No paths: these items were not predicted code by code.");
  }
  const first = element("div", { class: "node root" }, element("b", {}, "Everything"), left(model.num_items));
  const wide = model.num_levels <= WIDE;
  return element(
    "div",
    { class: wide ? "beam wide" : "beam" },
    element("ul", { "aria-label": "The paths of the recommendations" }, element("li", {}, first, branches(root))),
  );
}

const left = (number) => element("span", { class: "quiet" }, items(number));

function branches(node) {
  if (!node.children.size) return null;
  const children = [...node.children.values()];
  return element("ul", {}, children.map((child) => element("li", {}, shown(child), branches(child))));
}

function shown({ step, found }) {
  // A prefix with a single item needs no name: the item's title is at the end of the path.
  const name = step.num_items > 1 && !found.length ? element("span", { class: "name" }, step.name) : null;
  return element(
    "div",
    { class: "node" },
    element("span", { class: "code" }, `code ${step.code}`),
    element("span", { class: "value" }, percent(step.probability)),
    bar(step.probability),
    name,
    found.length ? ends(found) : left(step.num_items),
  );
}

const ends = (found) =>
  found.map((each) =>
    element(
      "span",
      { class: "end" },
      element("b", { title: "Rank" }, count(each.rank)),
      element("span", { class: "item", title: each.item_id }, each.title || each.item_id),
    ),
  );
