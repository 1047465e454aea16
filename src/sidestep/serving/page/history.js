// The history as cards, and example histories of popular items.

import { byId, count, element, lastStep, lastSteps } from "./element.js";

const EXAMPLES = 4;
const LENGTH = 3;

// entries: {id, card}, with card null for an id that is not in the catalogue. removed: callback for a place.
export function showHistory(entries, removed) {
  const list = byId("history");
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...entries.map((entry, place) => listed(entry, () => removed(place))));
  if (focused >= 0) focusHistory(focused); // an arriving response must not change the focus
  byId("clear").hidden = entries.length === 0;
}

function listed({ id, card }, removed) {
  const title = card ? card.title || id : id;
  const under = card ? lastSteps(card.category) || id : "Not in this catalogue; skipped";
  return element(
    "li",
    { class: card ? "card" : "card absent" },
    element("span", { class: "item", title: id }, title),
    element("span", { class: "quiet", title: card?.category ?? null }, under),
    element("button", { type: "button", class: "mark", "aria-label": `Remove ${title}`, onclick: removed }, "×"),
  );
}

// Removing a card removes its focus; it moves to the next card, or to the input.
export function focusHistory(place) {
  const buttons = byId("history").querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? byId("find")).focus();
}

// cards: popular items, the most popular first. Each example has a few items of one category.
export function exampleHistories(cards) {
  const groups = new Map();
  for (const card of cards) {
    const kind = (card.category ?? "").split(" > ").slice(0, 3).join(" > ");
    groups.set(kind, [...(groups.get(kind) ?? []), card]);
  }
  groups.delete("");
  const kinds = [...groups].filter(([, group]) => group.length >= LENGTH).slice(0, EXAMPLES);
  if (kinds.length) return kinds.map(([kind, group]) => ({ name: lastStep(kind), cards: group.slice(0, LENGTH) }));
  const places = [...Array(EXAMPLES).keys()].filter((place) => (place + 1) * LENGTH <= cards.length);
  return places.map((place) => ({
    name: `Popular, ${count(place * LENGTH + 1)}–${count((place + 1) * LENGTH)}`,
    cards: cards.slice(place * LENGTH, (place + 1) * LENGTH),
  }));
}

export function showExamples(examples, picked) {
  const made = examples.map((example) => {
    const titles = example.cards.map((card) => card.title).join("; ");
    return element("button", { type: "button", title: titles, onclick: () => picked(example) }, example.name);
  });
  byId("examples").replaceChildren(...(made.length ? [element("span", { class: "quiet" }, "Or try"), ...made] : []));
}
