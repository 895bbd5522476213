// Requests to the service. The key, where one is needed, is kept for this tab alone.

const KEY = "relgnn-key";
const kept = sessionStorage;
let asking = null;

/** GET with parameters, or POST where there is a body; asks for a key when the service wants one. */
export async function call(path, { params, body, signal } = {}) {
  const given = Object.entries(params ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  for (;;) {
    const key = kept.getItem(KEY);
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(query ? `${path}?${query}` : path, {
        method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("the service does not answer; is it still running?");
    }
    if (answer.ok) return answer.json();
    const told = await answer.json().catch(() => ({ error: `the service said ${answer.status}` }));
    // a statement that is withheld is a 403 too, which another key would not change
    const about_key = answer.headers.has("WWW-Authenticate");
    if (!about_key || !(await newKey(told.error))) throw new Error(told.error);
  }
}

/** Ask for a key; one dialog for all requests that wait for it. Whether one was given. */
function newKey(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask-key");
    const input = document.getElementById("ask-key-input");
    document.getElementById("ask-key-why").textContent = why;
    input.value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok" && input.value.trim();
      if (given) kept.setItem(KEY, input.value.trim());
      input.value = "";
      showKey();
      asking = null;
      resolve(Boolean(given));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

/** The button that forgets the key is there while there is one. */
export function showKey() {
  const button = document.getElementById("key");
  button.hidden = !kept.getItem(KEY);
  button.onclick = () => {
    kept.removeItem(KEY);
    location.reload();
  };
}

const once = new Map();

/** GET that is asked for once. */
export function facts(path) {
  if (!once.has(path)) {
    const asked = call(path);
    once.set(path, asked);
    asked.catch(() => once.delete(path));
  }
  return once.get(path);
}
