// The return page while the provider's word is awaited: looks again after 2 s, then less and less often.
"use strict";

(() => {
  const waiting = document.getElementById("waiting");
  const help = document.getElementById("long-wait");
  if (!waiting || !help) return;
  const FIRST_MS = 2000;
  const LONGEST_MS = 15000;
  const HELP_MS = 30000;
  const query = new URLSearchParams({ purchase: waiting.dataset.purchase });
  const started = Date.now();
  let pause = FIRST_MS;
  help.hidden = true;

  async function look() {
    try {
      const answer = await fetch(`/top-up-credits/return/status?${query}`, { headers: { accept: "application/json" } });
      if (answer.ok && (await answer.json()).outcome !== "waiting") {
        window.location.replace(`/top-up-credits/return?${query}`);
        return;
      }
    } catch {
      // No connection for a moment: the next look may have one.
    }
    if (Date.now() - started > HELP_MS) help.hidden = false;
    if (Date.now() - started > HELP_MS / 3) pause = Math.min(LONGEST_MS, pause * 1.5);
    setTimeout(look, pause);
  }

  setTimeout(look, pause);
})();
