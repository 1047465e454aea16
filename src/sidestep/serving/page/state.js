// The state of the page, in the fragment of its address: a link shows the same page, and Back works.

const MAX_K = 100;

export const START = Object.freeze({
  history: [], user: "", model: "", other: "", k: 10, unseen: true, category: "", sets: [], where: Object.freeze({}), time: "", at: "",
});

// A new visitor has an empty fragment; the fragment of an emptied history is `h=`.
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
    where: conditions(given.get("where")),
    time: /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$/.test(given.get("time") ?? "") ? given.get("time") : "",
    at: /^\d+(\.\d+)*$/.test(given.get("at") ?? "") ? given.get("at") : "",
  };
}

// The conditions on columns are JSON, as in a request.
function conditions(text) {
  try {
    const found = JSON.parse(text ?? "{}");
    return typeof found === "object" && found !== null && !Array.isArray(found) ? found : START.where;
  } catch {
    return START.where;
  }
}

function fragment(state) {
  const parameters = new URLSearchParams();
  for (const id of state.history) parameters.append("h", id);
  if (!state.history.length && !state.user) parameters.append("h", "");
  if (state.user) parameters.append("user", state.user);
  if (state.model) parameters.append("model", state.model);
  if (state.other) parameters.append("beside", state.other);
  if (state.k !== START.k) parameters.append("k", state.k);
  if (!state.unseen) parameters.append("seen", "1");
  if (state.category) parameters.append("category", state.category);
  for (const name of state.sets) parameters.append("set", name);
  if (Object.keys(state.where).length) parameters.append("where", JSON.stringify(state.where));
  if (state.time) parameters.append("time", state.time);
  if (state.at) parameters.append("at", state.at);
  return `#${parameters}`;
}

// The `hashchange` event then updates the page, whether a click, a link or Back changed the address.
export function write(changes) {
  location.hash = fragment({ ...read(), ...changes });
}

export function begin(changes) {
  history.replaceState(null, "", fragment({ ...START, ...changes }));
}
