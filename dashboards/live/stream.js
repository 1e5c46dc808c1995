// The router's stream of snapshots: read, watched, and begun again when it breaks.
//
// By fetch, not EventSource, which tells neither why it was refused nor that nothing comes.

const RETRY_MS = [500, 1000, 2000, 4000];
// A tab that nobody sees for so long lets the router rest.
const HIDDEN_MS = 60000;

export class Stream {
  // Calls snapshot(body, fresh) for each, and changed(state, message) when it comes or goes:
  // "live", "refused" with the router's own words, "lost", "paused".
  constructor(url, { snapshot, changed }) {
    Object.assign(this, { url, snapshot, changed });
    this.failures = 0;
    this.intervalMs = 1000;
    this.lastMs = null;
    this.hiddenTimer = null;
    document.addEventListener("visibilitychange", () => this.seen());
    this.connect();
  }

  // Nothing for so long is no hiccup.
  get patienceMs() {
    return Math.max(4000, 3 * this.intervalMs + 1000);
  }

  async connect() {
    this.abort = new AbortController();
    const { signal } = this.abort;
    try {
      const answer = await fetch(this.url, { signal, cache: "no-store", headers: { accept: "text/event-stream" } });
      if (!answer.ok) {
        this.again("refused", await refusal(answer));
        return;
      }
      await this.read(answer.body.getReader());
      this.again("lost");
    } catch (error) {
      if (this.paused) this.changed("paused");
      else this.again("lost", error.name === "AbortError" ? "nothing came" : "");
    }
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let text = "";
    let fresh = true;
    this.watch();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.watch();
      text += decoder.decode(value, { stream: true }).replaceAll("\r\n", "\n");
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5));
        if (!data.length) continue; // a comment that keeps the connection open
        const body = JSON.parse(data.join("\n"));
        this.intervalMs = 1000 * body.interval_s;
        this.lastMs = Date.now();
        this.failures = 0;
        try {
          this.snapshot(body, fresh);
          this.changed("live");
        } catch (error) {
          reportError(error); // what cannot be shown is no reason to ask again
        }
        fresh = false;
      }
    }
  }

  // A connection may be dead without saying so.
  watch() {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.abort.abort(), this.patienceMs + 4000);
  }

  again(state, message = "") {
    clearTimeout(this.watchdog);
    this.changed(state, message);
    const waitMs = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)];
    this.failures += 1;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), waitMs);
  }

  seen() {
    clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = setTimeout(() => {
        this.paused = true;
        clearTimeout(this.retry);
        clearTimeout(this.watchdog);
        this.abort.abort();
      }, HIDDEN_MS);
    } else if (this.paused) {
      this.paused = false;
      this.connect();
    }
  }
}

async function refusal(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the router answered ${answer.status}`;
  }
}
