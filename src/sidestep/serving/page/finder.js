// A combobox that finds items by the words of their titles.

import { get } from "./api.js";
import { byId, count, element, lastSteps, say } from "./element.js";

const PAUSE = 120; // milliseconds without a key press before a search
const SHOWN = 12;

// picked: callback for an item's card. model: returns the name of the model whose catalogue is searched.
export function makeFinder(picked, model) {
  const input = byId("find");
  const list = byId("found");
  let cards = [];
  let active = -1;
  let waiting = 0;
  let running = null;
  let behind = false; // the list is not yet that of the typed words

  function close() {
    clearTimeout(waiting);
    running?.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  }

  function mark(place) {
    active = place;
    [...list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
    if (place < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", `found-${place}`);
      list.children[place].scrollIntoView({ block: "nearest" });
    }
  }

  function show(found) {
    cards = found;
    behind = false;
    list.replaceChildren(...(found.length ? found.map(option) : [nothing()]));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(-1);
    say(found.length ? `${count(found.length)} found; arrow keys choose` : "Nothing found");
  }

  const nothing = () => element("li", { class: "quiet", role: "option", "aria-disabled": "true" }, "Nothing found");

  function option(card, place) {
    const title = element("span", { class: "item" }, card.title || card.item_id);
    const under = element("span", { class: "quiet" }, card.category ? lastSteps(card.category) : card.item_id);
    const made = element("li", { role: "option", id: `found-${place}`, "aria-selected": "false" }, title, under);
    made.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the input
    made.addEventListener("click", () => take(place));
    return made;
  }

  async function search() {
    running?.abort();
    running = new AbortController();
    try {
      const answer = await get("items", { query: input.value.trim(), limit: SHOWN, model: model() }, running.signal);
      show(answer.items);
    } catch (error) {
      if (error.name === "AbortError") return;
      cards = [];
      list.replaceChildren(element("li", { class: "alert", role: "option", "aria-disabled": "true" }, error.message));
      list.hidden = false;
    }
  }

  function take(place) {
    const card = cards[place];
    if (!card) return;
    input.value = "";
    close();
    picked(card);
  }

  // Enter right after typing chooses from the results for the whole query, not from earlier results.
  async function enter() {
    if (active >= 0) return take(active);
    clearTimeout(waiting);
    if (!input.value.trim()) return undefined;
    await search();
    return take(0);
  }

  input.addEventListener("input", () => {
    clearTimeout(waiting);
    behind = true;
    waiting = setTimeout(search, PAUSE);
  });
  input.addEventListener("click", () => list.hidden && search());
  input.addEventListener("blur", close);
  input.addEventListener("keydown", async (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) return search();
      if (behind) {
        clearTimeout(waiting);
        await search(); // an arrow chooses from the results for the whole query, too
        if (behind) return undefined;
      }
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (cards.length) mark(active < 0 && step < 0 ? cards.length - 1 : (active + step + cards.length) % cards.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      return enter();
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      close();
    }
    return undefined;
  });
}
