// The recommendations of one model as cards, each with its path of thoughts and codes.

import { addButton, bar, count, element, items, lastSteps, percent, score } from "./element.js";

// ranks: by id, in the other model's recommendations, or null. add, find: callbacks for an item's card and for its codes;
// find is null if the displayed catalogue belongs to another model.
export function answersOf({ answer, model, ranks, add, find }) {
  const found = answer.recommendations;
  const cards = found.map((each, place) => card(each, place, { answer, model, ranks, add, find }));
  return [
    element("p", { class: "quiet by" }, explained(answer, model)),
    found.length
      ? element("ol", { class: "answers" }, cards)
      : element("p", { class: "alert" }, "No item passes these filters; relax them."),
  ];
}

function explained(answer, model) {
  if (answer.by === "popularity") {
    return answer.unknown.length
      ? "None of these items is in this catalogue: these are the most popular items."
      : "The history is empty: these are the most popular items. Add one to see the model's thoughts.";
  }
  if (!model.num_levels) {
    return "This model scores all items at once: it has no codes and no paths.";
  }
  const sizes = [...new Set(model.codebook_sizes)];
  const each = sizes.length > 1 ? model.codebook_sizes.map(count).join(", ") : `${count(sizes[0])} each`;
  const levels = `${count(model.num_levels)} codes of ${each}`;
  const thinks = model.thinks ? "a thought before each" : "no thoughts";
  return `From ${items(model.num_items)} by ${levels}, with ${thinks}.`;
}

function card(found, place, { answer, model, ranks, add, find }) {
  const named = [
    element("span", { class: "rank" }, count(place + 1)),
    element("span", { class: "item", title: found.item_id }, found.title || found.item_id),
    ranks ? compared(ranks.get(found.item_id)) : null,
    element("span", { class: "quiet under", title: found.category }, lastSteps(found.category) || found.item_id),
  ];
  const scoring = element("span", { class: "quiet" }, scored(found, answer));
  const because = found.reasons?.length ? element("p", { class: "quiet under" }, found.reasons.join("; ")) : null;
  const body = found.path
    ? element(
        "details",
        { open: place === 0 },
        element("summary", {}, named, trail(found.path, model)),
        because,
        path(found),
        element("p", { class: "row" }, find && shown(found, find), scoring),
      )
    : element("div", { class: "summary" }, named, element("span", { class: "quiet under" }, scored(found, answer)), because);
  const title = found.title || found.item_id;
  return element("li", { class: "card" }, body, addButton(title, () => add(found)));
}

const scored = (found, answer) =>
  answer.by === "popularity" ? `${count(found.score)} interactions` : `score ${score(found.score)}`;

const compared = (rank) =>
  rank
    ? element("span", { class: "chip" }, `rank ${count(rank)} there`)
    : element("span", { class: "chip only" }, "only here");

function shown(found, find) {
  const codes = found.path.map((step) => step.code);
  const label = "Show in the catalogue";
  return element("button", { type: "button", class: "plain", onclick: () => find(codes) }, label);
}

// "12,101 → 310 → 14 → 1": how the codes narrow the catalogue.
function trail(steps, model) {
  const counts = [model.num_items, ...steps.map((step) => step.num_items)];
  return element("span", { class: "trail", title: "Items left" }, counts.map(count).join(" → "));
}

// Levels that leave all items explain nothing; one line stands for them.
function path(found) {
  const deciding = found.path.filter((step) => step.decides);
  const rest = found.path.filter((step) => !step.decides).map((step) => `${step.code} at level ${count(step.level)}`);
  const steps = deciding.map((step) => {
    const title = element("h4", {}, `Level ${count(step.level)}`);
    return element("li", {}, title, thought(step), lookedUp(step), said(step, found));
  });
  const folded = rest.length ? element("p", { class: "quiet" }, `Nothing left to decide: code ${rest.join(", ")}.`) : null;
  return [element("ol", { class: "path" }, steps), folded];
}

// What the thought holds likely, then the nearest clusters; those that lead to no item here are left out.
function thought(step) {
  const possible = step.thought.filter((cluster) => cluster.num_items);
  const held = step.thinks_of;
  if (!possible.length && !held) return null;
  const nearest = possible.map((cluster) => named(cluster.name, cluster.probability));
  if (!held) return element("div", { class: "thought" }, element("p", { class: "quiet" }, "thought"), nearest);
  const clusters = `${count(held.clusters.length)} of ${count(held.possible)} clusters`;
  const spread = `of its probability: ${clusters}, ${items(held.num_items)}`;
  const told = held.name
    ? [element("p", { class: "quiet" }, "thinks of"), element("div", { class: "held" }, named(held.name, held.probability))]
    : [element("p", { class: "quiet" }, "the thought is"), element("p", { class: "held" }, "undecided")];
  return element(
    "div",
    { class: "thought" },
    told,
    element("p", { class: "quiet" }, held.name ? spread : `${percent(held.probability)} ${spread}`),
    nearest.length ? element("details", {}, element("summary", { class: "quiet" }, "nearest clusters"), nearest) : null,
  );
}

// What the model looked up of the history before its window; the last few by name.
function lookedUp(step) {
  const found = step.looked_up || [];
  if (!found.length) return null;
  const names = found.slice(0, 3).map((each) => element("p", { class: "item" }, each.title || each.item_id));
  const more = found.length > 3 ? element("p", { class: "quiet" }, `and ${items(found.length - 3)} more`) : null;
  return element("div", { class: "thought looked-up" }, element("p", { class: "quiet" }, "remembers"), names, more);
}

function said(step, found) {
  const kept = step.num_items;
  const name = kept === 1 ? found.title || found.item_id : step.name;
  return element(
    "div",
    { class: "said" },
    element("p", { class: "quiet" }, "predicts"),
    named(`code ${step.code}`, step.probability),
    element("p", {}, element("span", { class: "quiet" }, "narrows to "), items(kept), `: ${name}`),
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

// The agreement of two models on one history.
export function agreement(first, second) {
  const ids = new Set(first.recommendations.map((each) => each.item_id));
  const both = second.recommendations.filter((each) => ids.has(each.item_id)).length;
  const most = Math.max(first.recommendations.length, second.recommendations.length);
  return `Both models recommend ${count(both)} of ${items(most)}.`;
}

export const ranksIn = (answer) => new Map(answer.recommendations.map((each, place) => [each.item_id, place + 1]));

export function showFailure(place, message, again) {
  const retry = element("button", { type: "button", onclick: again }, "Try again");
  place.replaceChildren(element("p", { class: "alert", role: "alert" }, message), retry);
}
