// What the server knows, asked again while the page is looked at.

export const PAUSE = 2000;

export class Refused extends Error {}

// The folder of this page is a part of every address, so that all stay within it.
export async function ask(name, parameters) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters || {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(key, one);
    }
  }
  const answer = await fetch(`api/${name}?${query}`, { credentials: "same-origin" });
  if (answer.status === 403) throw new Error("this page is not known to the server any more: open the address that `harmony ui` prints");
  const told = await answer.json();
  if (!answer.ok) throw new Refused(told.error || `the server answered ${answer.status}`);
  if (told.reading) throw new Refused("The search is being read.");
  return told;
}

// Calls `turn` now and then again and again, one call at a time, while the page is visible; it tells whether all is drawn
// that there is to draw. `again` is for what a person has changed, `end` ends it.
export function repeat(turn, onState) {
  let ended = false;
  let timer = null;
  let running = false;
  let wanted = false;
  async function go() {
    clearTimeout(timer);
    timer = null;
    if (ended || document.hidden) return;
    if (running) {
      wanted = true;
      return;
    }
    running = true;
    do {
      wanted = false;
      try {
        const whole = await turn();
        // Where another turn is wanted already, what is drawn is the answer to an older question.
        if (!ended && !wanted) onState(null, whole);
      } catch (error) {
        if (!ended) onState(error);
      }
    } while (wanted && !ended);
    running = false;
    if (!ended) timer = setTimeout(go, PAUSE);
  }
  function seen() {
    if (!document.hidden && timer === null) go();
  }
  document.addEventListener("visibilitychange", seen);
  // The page is made before its first turn, which may ask for another one.
  queueMicrotask(go);
  return {
    again: go,
    end() {
      ended = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    },
  };
}
