// What the visitor has chosen, kept in the address's fragment: a link shows the same page, and Back goes back.

const MAX_K = 100;

export const START = Object.freeze({
  history: [], user: "", model: "", other: "", k: 10, unseen: true, category: "", sets: [], at: "",
});

// Nothing is known of a visitor who comes with an empty fragment; one who removed everything has `h=`.
export const isNew = () => location.hash.length < 2;

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const k = Number.parseInt(given.get("k") ?? "", 10);
  return {
    history: given.getAll("h").filter(Boolean),
    user: given.get("user") ?? "",
    model: given.get("model") ?? "",
    other: given.get("beside") ?? "",
    k: k >= 1 ? Math.min(k, MAX_K) : START.k,
    unseen: given.get("seen") !== "1",
    category: given.get("category") ?? "",
    sets: given.getAll("set").filter(Boolean),
    at: /^\d+(\.\d+)*$/.test(given.get("at") ?? "") ? given.get("at") : "",
  };
}

function fragment(state) {
  const told = new URLSearchParams();
  for (const id of state.history) told.append("h", id);
  if (!state.history.length && !state.user) told.append("h", "");
  if (state.user) told.append("user", state.user);
  if (state.model) told.append("model", state.model);
  if (state.other) told.append("beside", state.other);
  if (state.k !== START.k) told.append("k", state.k);
  if (!state.unseen) told.append("seen", "1");
  if (state.category) told.append("category", state.category);
  for (const name of state.sets) told.append("set", name);
  if (state.at) told.append("at", state.at);
  return `#${told}`;
}

// `hashchange` then shows it: there is one way in, whether a click, a link or Back changed the address.
export function write(changes) {
  location.hash = fragment({ ...read(), ...changes });
}

export function begin(changes) {
  history.replaceState(null, "", fragment({ ...START, ...changes }));
}
