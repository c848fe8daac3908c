// Flame graph: a tree of stacks, drawn from the page's own JSON; only what is wide enough to be seen is made.
(() => {
  const HIGH = 19, NARROW = 0.8, SVG = "http://www.w3.org/2000/svg";

  function tree(data) {
    const root = { name: "all", us: 0, busy: 0, inner: [], up: null, level: -1 }, path = [root];
    data.level.forEach((level, i) => {
      const up = path[level], name = data.names[data.name[i]];
      const node = { name, us: data.us[i], busy: 0, inner: [], up, level, idle: data.idle.includes(name) };
      up.inner.push(node);
      path[level + 1] = node;
      path.length = level + 2;
    });
    root.us = root.inner.reduce((sum, n) => sum + n.us, 0);
    const settle = (node) => {
      node.inner.forEach(settle);
      const within = node.inner.reduce((sum, n) => sum + n.us, 0);
      node.busy = node.idle ? 0 : node.inner.reduce((sum, n) => sum + n.busy, 0) + node.us - within;
    };
    settle(root);
    root.busy = root.inner.reduce((sum, n) => sum + n.busy, 0);
    return root;
  }

  function kind(node) {
    if (node.idle) return "f-idle";
    if (node.level < 2) return "f-stage";
    if (node.name.includes(" [kernel]")) return "f-kernel";
    if (node.name.includes("(hdrmx/")) return "f-own";
    return "f-library";
  }

  class Flame {
    constructor(box) {
      const one = (name) => box.querySelector(name);
      this.svg = one(".graph"); this.read = one(".read"); this.found = one(".found"); this.find = one(".find");
      this.stage = one(".stage"); this.withIdle = one(".idle");
      this.root = tree(JSON.parse(one("script").textContent));
      this.zoomed = this.root;
      this.at = null;
      this.stage.addEventListener("change", () => this.zoom(this.top()));
      this.find.addEventListener("input", () => this.draw());
      this.withIdle.addEventListener("change", () => this.draw());
      one(".out").addEventListener("click", () => this.zoom(this.top()));
      this.svg.addEventListener("keydown", (event) => this.key(event));
      this.svg.addEventListener("pointerover", (event) => { const node = this.node(event); if (node) this.tell(node); });
      this.svg.addEventListener("click", (event) => { const node = this.node(event); if (node) this.zoom(node); });
      new ResizeObserver(() => { if (this.svg.clientWidth !== this.width) this.draw(); }).observe(this.svg);
      this.draw();
    }
    top() { return this.stage.value === "" ? this.root : this.root.inner[Number(this.stage.value)]; }
    size(node) { return this.withIdle.checked ? node.us : node.busy; }
    shown(node) { return node.inner.filter((n) => this.size(n) > 0); }
    node(event) { const g = event.target.closest("g"); return g ? this.drawn[Number(g.dataset.n)] : null; }
    zoom(node) {
      this.zoomed = node;
      this.at = node === this.root ? null : node;
      this.draw();
    }
    matches(node) { return this.words !== "" && node.name.toLowerCase().includes(this.words); }
    draw() {
      this.width = this.svg.clientWidth || 1000;
      this.words = this.find.value.trim().toLowerCase();
      this.drawn = [];
      const parts = document.createDocumentFragment(), above = [];
      for (let n = this.zoomed; n && n !== this.root; n = n.up) above.unshift(n);
      let deepest = 0, hit = 0;
      const put = (node, x, w, y, dim) => {
        deepest = Math.max(deepest, y);
        const g = document.createElementNS(SVG, "g"), rect = document.createElementNS(SVG, "rect");
        g.dataset.n = this.drawn.length;
        this.drawn.push(node);
        if (node === this.at) g.classList.add("at");
        if (dim) g.classList.add("dim");
        if (this.matches(node)) g.classList.add("hit");
        rect.setAttribute("class", kind(node));
        for (const [name, value] of [["x", x], ["y", y * HIGH], ["width", Math.max(w - 0.3, 0.4)], ["height", HIGH - 1]]) rect.setAttribute(name, value.toFixed(1));
        g.append(rect);
        const room = Math.floor((w - 6) / 6.7);
        if (room > 2) {
          const text = document.createElementNS(SVG, "text");
          text.setAttribute("x", (x + 3).toFixed(1));
          text.setAttribute("y", y * HIGH + 13.5);
          text.textContent = node.name.length > room ? node.name.slice(0, room - 1) + "…" : node.name;
          g.append(text);
        }
        parts.append(g);
      };
      const walk = (node, x, w, y, counted) => {
        const total = this.size(node) || 1;
        let from = x;
        for (const child of this.shown(node)) {
          const wide = w * this.size(child) / total, now = !counted && this.matches(child);
          if (now) hit += this.size(child);
          if (wide >= NARROW) put(child, from, wide, y, false);
          if (wide >= NARROW || this.words) walk(child, from, wide, y + 1, counted || now);
          from += wide;
        }
      };
      above.forEach((node, i) => put(node, 0, this.width, i, node !== this.zoomed));
      const counted = above.some((node) => this.matches(node));
      walk(this.zoomed, 0, this.width, above.length, counted);
      const high = (deepest + 1) * HIGH;
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${high}`);
      this.svg.style.height = high + "px";
      this.svg.replaceChildren(parts);
      const whole = this.size(this.zoomed) || 1;
      if (counted) hit = whole;
      this.found.textContent = this.words ? (100 * hit / whole).toFixed(1) + " % of what is shown" : "";
      this.tell(this.at || this.zoomed);
    }
    tell(node) {
      const whole = this.size(this.top()) || 1, s = (us) => (us / 1e6).toFixed(3) + " s";
      let text = node.name + ": " + s(this.size(node)) + ", " + (100 * this.size(node) / whole).toFixed(1) + " %";
      if (!this.withIdle.checked && node.us > node.busy) text += "; besides " + s(node.us - node.busy) + " of waiting";
      this.read.textContent = text;
    }
    key(event) {
      const now = this.at || this.zoomed, beside = now.up ? this.shown(now.up) : [now], i = beside.indexOf(now);
      const largest = (nodes) => nodes.reduce((a, b) => (a && this.size(a) >= this.size(b) ? a : b), null);
      let to = null;
      if (event.key === "ArrowDown") to = largest(this.shown(now));
      else if (event.key === "ArrowUp") to = now.up && now.up !== this.root ? now.up : null;
      else if (event.key === "ArrowRight") to = beside[i + 1];
      else if (event.key === "ArrowLeft") to = beside[i - 1];
      else if (event.key === "Enter") { event.preventDefault(); this.zoom(now); return; }
      else if (event.key === "Escape") { this.zoom(this.zoomed === this.top() ? this.root : this.zoomed.up || this.root); return; }
      else return;
      event.preventDefault();
      if (!to) return;
      this.at = to;
      let inside = false;
      for (let n = to; n; n = n.up) inside = inside || n === this.zoomed;
      if (!inside) this.zoomed = to.up || this.root;
      this.draw();
    }
  }

  document.querySelectorAll(".flame").forEach((box) => new Flame(box));
})();
