// The answers of one model as cards, each with the path of thoughts that led to it.

import { addButton, bar, count, element, items, lastStep, lastSteps, percent, score } from "./element.js";

// ranks: by id, in the other model's answers, or null. add, find: what to do with an item's card, and with its codes;
// find is null where the catalogue that is shown is another model's.
export function answersOf({ answer, model, ranks, add, find }) {
  const found = answer.recommendations;
  const cards = found.map((each, place) => card(each, place, { answer, model, ranks, add, find }));
  return [
    element("p", { class: "quiet by" }, explained(answer, model)),
    found.length
      ? element("ol", { class: "answers" }, cards)
      : element("p", { class: "alert" }, "No item is permitted by these filters; widen them."),
  ];
}

function explained(answer, model) {
  if (answer.by === "popularity") {
    return answer.unknown.length
      ? "None of these items is in this catalogue, so the most popular items are shown."
      : "Nothing is known of this visitor yet, so the most popular items are shown. Add one and see the model think.";
  }
  if (!model.num_levels) {
    return "This model compares all items at once: it says no codes, so there are no paths to show.";
  }
  const sizes = [...new Set(model.codebook_sizes)];
  const each = sizes.length > 1 ? model.codebook_sizes.map(count).join(", ") : `${count(sizes[0])} each`;
  const levels = `${count(model.num_levels)} codes of ${each}`;
  const thinks = model.thinks ? "thinks before each" : "does not think";
  return `From ${items(model.num_items)} by ${levels}; the model ${thinks}.`;
}

function card(found, place, { answer, model, ranks, add, find }) {
  const named = [
    element("span", { class: "rank" }, count(place + 1)),
    element("span", { class: "item", title: found.item_id }, found.title || found.item_id),
    ranks ? compared(ranks.get(found.item_id)) : null,
    element("span", { class: "quiet under", title: found.category }, lastSteps(found.category) || found.item_id),
  ];
  const scoring = element("span", { class: "quiet" }, scored(found, answer));
  const body = found.path
    ? element(
        "details",
        { open: place === 0 },
        element("summary", {}, named, trail(found.path, model)),
        path(found, model),
        element("p", { class: "row" }, find && shown(found, find), scoring),
      )
    : element("div", { class: "summary" }, named, element("span", { class: "quiet under" }, scored(found, answer)));
  const title = found.title || found.item_id;
  return element("li", { class: "card" }, body, addButton(title, () => add(found)));
}

const scored = (found, answer) =>
  answer.by === "popularity" ? `taken ${count(found.score)} times` : `score ${score(found.score)}`;

const compared = (rank) =>
  rank
    ? element("span", { class: "chip" }, `no. ${count(rank)} there`)
    : element("span", { class: "chip only" }, "only here");

function shown(found, find) {
  const codes = found.path.map((step) => step.code);
  const label = "Where it stands in the catalogue";
  return element("button", { type: "button", class: "plain", onclick: () => find(codes) }, label);
}

// "12,101 → 310 → 14 → 1": how the codes narrow the catalogue.
function trail(steps, model) {
  const counts = [model.num_items, ...steps.map((step) => step.num_items)];
  return element("span", { class: "trail", title: "Items left" }, counts.map(count).join(" → "));
}

function path(found, model) {
  return element(
    "ol",
    { class: "path" },
    found.path.map((step, place) => {
      const before = place ? found.path[place - 1].num_items : model.num_items;
      const title = element("h4", {}, `Level ${count(step.level)}`);
      return element("li", {}, title, thought(step), said(step, before, found));
    }),
  );
}

function thought(step) {
  if (!step.thought.length) return null;
  return element(
    "div",
    { class: "thought" },
    element("p", { class: "quiet" }, "thinks of"),
    step.thought.map((cluster) => named(cluster.name, cluster.probability)),
  );
}

function said(step, before, found) {
  const kept = step.num_items;
  const name = kept === 1 ? found.title || found.item_id : lastStep(step.name);
  const words = kept === before ? "still" : "leaves";
  return element(
    "div",
    { class: "said" },
    element("p", { class: "quiet" }, "says"),
    named(`code ${step.code}`, step.probability),
    element("p", {}, element("span", { class: "quiet" }, `${words} `), items(kept), before === 1 ? "" : `: ${name}`),
  );
}

const named = (name, probability) =>
  element(
    "p",
    { class: "named" },
    element("span", { class: "item" }, name),
    element("span", { class: "value" }, percent(probability)),
    bar(probability),
  );

// Two models on one history: how far they agree.
export function agreement(first, second) {
  const ids = new Set(first.recommendations.map((each) => each.item_id));
  const both = second.recommendations.filter((each) => ids.has(each.item_id)).length;
  const most = Math.max(first.recommendations.length, second.recommendations.length);
  return `Both models name ${count(both)} of ${items(most)}.`;
}

export const ranksIn = (answer) => new Map(answer.recommendations.map((each, place) => [each.item_id, place + 1]));

export function showFailure(place, message, again) {
  const retry = element("button", { type: "button", onclick: again }, "Try again");
  place.replaceChildren(element("p", { class: "alert", role: "alert" }, message), retry);
}
