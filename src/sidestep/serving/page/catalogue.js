// The catalogue as a tree from coarse to fine; a branch is fetched when it is opened.

import { get } from "./api.js";
import { addButton, bar, byId, count, element, items, lastSteps } from "./element.js";

const FIRST = 16; // branches before the button for more
const ALL = 1000;

// model: its name. add: callback for an item's card.
export async function showCatalogue(model, add) {
  const place = byId("catalogue");
  await fill(place, [], { model, add });
}

async function fill(place, prefix, { model, add }) {
  place.setAttribute("aria-busy", "true");
  try {
    const node = await get("tree", { prefix: prefix.join("."), limit: ALL, model });
    place.replaceChildren(
      node.items.length ? leaves(node, add) : branches(node, { model, add }),
    );
  } catch (error) {
    place.replaceChildren(element("p", { class: "alert", role: "alert" }, error.message));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

function branches(node, given) {
  const list = element("ul", { class: "branches" });
  const largest = node.children[0]?.num_items ?? 1;
  const make = (child) => element("li", {}, branch([...node.prefix, child.code], child, largest, given));
  list.append(...node.children.slice(0, FIRST).map(make));
  const rest = node.children.slice(FIRST);
  if (rest.length) {
    const label = `Show the other ${count(rest.length)} branches`;
    const more = element("button", { type: "button", class: "plain more" }, label);
    const last = element("li", {}, more);
    const unfold = () => last.replaceWith(...rest.map(make));
    more.addEventListener("click", () => {
      unfold();
      list.children[FIRST].querySelector("summary").focus(); // the focused button has been removed
    });
    list.unfold = unfold;
    list.append(last);
  }
  return list;
}

function branch(prefix, child, largest, given) {
  const inside = element("div", { class: "inside" });
  const examples = child.num_items > 1 ? child.examples.join(" · ") : "";
  const made = element(
    "details",
    { "data-prefix": prefix.join(".") },
    element(
      "summary",
      {},
      element("span", { class: "code" }, String(child.code)),
      element("span", { class: "item name", title: child.name }, child.name),
      element("span", { class: "count" }, items(child.num_items)),
      bar(child.num_items / largest),
      examples ? element("span", { class: "quiet examples-of item" }, examples) : null,
    ),
    inside,
  );
  made.load = () => (made.loaded ??= fill(inside, prefix, given)); // once, however often it is opened
  made.addEventListener("toggle", () => made.open && made.load());
  return made;
}

function leaves(node, add) {
  const made = node.items.map((card) => {
    const title = card.title || card.item_id;
    return element(
      "li",
      { class: "card" },
      element("span", { class: "item", title: card.item_id }, title),
      element("span", { class: "quiet" }, lastSteps(card.category) || card.item_id),
      addButton(title, () => add(card)),
    );
  });
  return element("ul", { class: "leaves", "aria-label": `Items with the semantic ID ${node.prefix.join(".")}` }, made);
}

// Opens the branches of a prefix and scrolls to it.
export async function openAt(codes) {
  let place = byId("catalogue");
  let last = null;
  for (let level = 1; level <= codes.length; level += 1) {
    const selector = `:scope > .branches > li > [data-prefix="${codes.slice(0, level).join(".")}"]`;
    let branch = place.querySelector(selector);
    if (!branch) {
      place.querySelector(":scope > .branches")?.unfold?.();
      branch = place.querySelector(selector);
    }
    if (!branch) break;
    branch.open = true;
    await branch.load();
    place = branch.querySelector(":scope > .inside");
    last = branch;
  }
  if (last) {
    last.querySelector("summary").focus({ preventScroll: true });
    last.scrollIntoView({ block: "center" });
  }
}
