"use strict";
// Histories drawn when they come into view: points, band, levels, changes, machine changes; drag to zoom, click for the commit.
(() => {
  const holder = document.getElementById("trend-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent), NS = "http://www.w3.org/2000/svg";
  const W = 560, H = 190, L = 62, R = 10, T = 14, B = 26, MISSING = -32768;
  const all = [0, Math.max(data.commits.length - 1, 1)];
  let range = all.slice(), logarithmic = false;
  const cache = {}, shown = new Map();
  const panel = document.getElementById("commit");

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  function series(id) {
    if (cache[id]) return cache[id];
    const s = data.series[id], view = new DataView(bytes(s.y).buffer), n = view.byteLength / 2;
    const y = new Float64Array(n), at = new Int32Array(n), w = s.w ? bytes(s.w) : null;
    const steps = s.a ? new DataView(bytes(s.a).buffer) : null;
    for (let i = 0, sum = 0; i < n; i++) {
      const q = view.getInt16(2 * i, true);
      y[i] = q === MISSING ? NaN : s.l ? Math.exp(s.c + q * s.r) : s.c + q * s.r;
      at[i] = steps ? (sum += steps.getUint16(2 * i, true)) : s.f + i;
    }
    return (cache[id] = { ...s, y, at, w, x: s.x || [] });
  }

  const SCALES = { seconds: [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]], bytes: [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]] };
  function amount(v, unit) {
    if (v === null || !isFinite(v)) return "–";
    for (const [size, name] of SCALES[unit] || []) if (Math.abs(v) >= size) return +(v / size).toPrecision(4) + " " + name;
    return (+v.toPrecision(5) + " " + unit).trim();
  }
  const day = (i) => new Date(data.dates[i] * 60000).toISOString().slice(0, 10);
  const make = (name, set, into, text) => {
    const e = document.createElementNS(NS, name);
    for (const k in set) e.setAttribute(k, set[k]);
    if (text !== undefined) e.textContent = text;
    into.append(e);
    return e;
  };

  function ticks(low, high, log) {
    if (log) {
      const out = [];
      for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++) for (const m of [1, 2, 5]) {
        const v = m * 10 ** p;
        if (v >= low && v <= high) out.push(v);
      }
      if (out.length >= 2 && out.length < 9) return out;
      if (out.length >= 9) return out.filter((v) => /^1/.test(v.toExponential()));
    }
    const span = high - low || 1, step0 = 10 ** Math.floor(Math.log10(span / 4));
    const step = [1, 2, 5, 10].map((m) => m * step0).find((s) => span / s <= 5);
    const out = [];
    for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * span; v += step) out.push(Math.abs(v) < step / 1e6 ? 0 : v);
    return out;
  }

  function draw(box) {
    const s = series(box.dataset.s), svg = box.querySelector("svg");
    svg.replaceChildren();
    const inside = [];
    for (let i = 0; i < s.y.length; i++) if (s.at[i] >= range[0] && s.at[i] <= range[1] && isFinite(s.y[i])) inside.push(i);
    if (!inside.length) {
      make("text", { x: W / 2, y: H / 2, class: "x" }, svg, "nothing measured here");
      shown.set(box, { s, inside });
      return;
    }
    const values = inside.map((i) => s.y[i]).sort((a, b) => a - b);
    const lines = box.dataset.lines ? JSON.parse(box.dataset.lines) : [];
    const low1 = values[Math.floor(values.length * 0.005)], high1 = values[Math.ceil(values.length * 0.995) - 1];
    let low = Math.min(low1, ...lines.map((l) => l[1])), high = Math.max(high1, ...lines.map((l) => l[1]));
    const log = (logarithmic || lines.length > 0) && low > 0;
    if (log) {
      const f = Math.max((high / low) ** 0.08, 1.002);
      low /= f;
      high *= f;
    } else {
      const margin = Math.max((high - low) * 0.08, Math.abs(high) * 0.002, 1e-12);
      low -= margin;
      high += margin;
    }
    const fy = log ? Math.log : (v) => v, a = fy(low), b = fy(high);
    const px = (c) => L + (c - range[0]) / Math.max(range[1] - range[0], 1) * (W - L - R);
    const py = (v) => H - B - (fy(Math.min(Math.max(v, low), high)) - a) / (b - a) * (H - B - T);
    for (const v of ticks(low, high, log)) {
      make("path", { class: "grid", d: `M${L} ${py(v).toFixed(1)}H${W - R}` }, svg);
      make("text", { class: "y", x: L - 5, y: py(v) + 4 }, svg, amount(v, s.u === "seconds" || s.u === "bytes" ? s.u : ""));
    }
    for (const c of [range[0], Math.round((range[0] + range[1]) / 2), range[1]]) {
      const anchor = c === range[0] ? "start" : c === range[1] ? "end" : "middle";
      make("text", { class: "when", x: px(c), y: H - 8, "text-anchor": anchor }, svg, data.commits[c] ? day(c) : "");
    }
    make("path", { class: "axis", d: `M${L} ${H - B}H${W - R}` }, svg);
    for (const [name, v] of lines) {
      make("path", { class: "needed", d: `M${L} ${py(v).toFixed(1)}H${W - R}` }, svg);
      make("text", { class: "needed", x: W - R - 2, y: py(v) - 3, "text-anchor": "end" }, svg, name);
    }
    for (const [c, , text] of data.events.filter((e) => s.m.startsWith(e[1]))) if (c >= range[0] && c <= range[1]) {
      const mark = make("path", { class: "event", d: `M${px(c - 0.5).toFixed(1)} ${T - 4}V${H - B}` }, svg);
      make("title", {}, mark, `${day(c)}: ${text}`);
      make("text", { class: "event", x: px(c - 0.5) + 3, y: T - 3 }, svg, "◆");
    }
    let band = "", level = "";
    for (const [first, last, v, lo, hi] of s.s) if (last >= range[0] && first <= range[1]) {
      const x0 = px(Math.max(first - 0.5, range[0])).toFixed(1), x1 = px(Math.min(last + 0.5, range[1])).toFixed(1);
      if (hi > lo) band += `M${x0} ${py(hi).toFixed(1)}H${x1}V${py(lo).toFixed(1)}H${x0}Z`;
      level += `M${x0} ${py(v).toFixed(1)}H${x1}`;
    }
    make("path", { class: "band c0", d: band }, svg);
    const wide = inside.length < 120 ? 4 : inside.length < 500 ? 2.6 : 1.8;
    let bars = "";
    if (s.w && inside.length < 250) for (const i of inside) if (s.w[i]) {
      const half = 1e-5 * 10 ** ((s.w[i] - 1) / 40) * Math.abs(s.y[i]);
      bars += `M${px(s.at[i]).toFixed(1)} ${py(s.y[i] - half).toFixed(1)}V${py(s.y[i] + half).toFixed(1)}`;
    }
    make("path", { class: "bars", d: bars }, svg);
    make("path", { class: "points", "stroke-width": wide, d: inside.map((i) => `M${px(s.at[i]).toFixed(1)} ${py(s.y[i]).toFixed(1)}h0`).join("") }, svg);
    make("path", { class: "level", d: level }, svg);
    for (const [c, first, last, old, now, worse, undone] of s.x) if (c >= range[0] && c <= range[1]) {
      const up = now > old, x = px(c - 0.5), y = py(now), d = up ? "l5 8h-10z" : "l5 -8h-10z";
      const mark = make("path", { class: "change " + (worse ? "worse" : "better"), d: `M${x.toFixed(1)} ${(up ? y - 12 : y + 12).toFixed(1)}${d}` }, svg);
      const ratio = old ? now / old : NaN, size = !isFinite(ratio) ? "" : ratio >= 2 ? ratio.toPrecision(3) + " times" : (ratio < 1 ? "" : "+") + (100 * (ratio - 1)).toPrecision(3) + " %";
      make("title", {}, mark, `${worse ? "worse" : "better"}: ${amount(old, s.u)} → ${amount(now, s.u)} ${size}, commit ${data.commits[c]}` + (first < last ? ` (or ${data.commits[first]}..${data.commits[last]})` : "") + (undone === null ? "" : `, undone by ${data.commits[undone]}`));
    }
    const cursor = make("line", { class: "cursor", y1: T, y2: H - B }, svg);
    const drag = make("rect", { class: "drag", y: T, height: H - B - T, width: 0, x: 0 }, svg);
    shown.set(box, { s, inside, px, py, cursor, drag, at: -1 });
  }

  function show(box, k) {
    const d = shown.get(box);
    if (!d || !d.inside.length) return;
    d.at = Math.min(Math.max(k, 0), d.inside.length - 1);
    const i = d.inside[d.at], c = d.s.at[i], x = d.px(c);
    d.cursor.setAttribute("x1", x);
    d.cursor.setAttribute("x2", x);
    d.cursor.classList.add("on");
    const half = d.s.w && d.s.w[i] ? " ± " + amount(1e-5 * 10 ** ((d.s.w[i] - 1) / 40) * Math.abs(d.s.y[i]), d.s.u) : "";
    box.querySelector("output").textContent = `${amount(d.s.y[i], d.s.u)}${half} · ${data.commits[c].slice(0, 8)} · ${day(c)}`;
  }
  function pin(box) {
    const d = shown.get(box);
    if (!d || d.at < 0) return;
    const i = d.inside[d.at], c = d.s.at[i];
    panel.replaceChildren();
    const add = (tag, text) => {
      const e = document.createElement(tag);
      e.textContent = text;
      panel.append(e);
      return e;
    };
    add("h3", d.s.n);
    add("p", `${amount(d.s.y[i], d.s.u)} on ${d.s.m}, measured at commit ${data.commits[c]} of ${day(c)}`);
    if (data.subjects && data.subjects[c]) add("p", "“" + data.subjects[c] + "”");
    const links = Object.entries(data.links[c] || {});
    if (data.url) links.unshift(["commit", data.url + data.commits[c]]);
    const list = add("p", links.length ? "Open: " : "No profile of this commit lies beside the results.");
    links.forEach(([name, href], n) => {
      if (n) list.append(", ");
      const a = document.createElement("a");
      a.href = href;
      a.textContent = name;
      list.append(a);
    });
    const close = add("button", "Close");
    close.addEventListener("click", () => { panel.hidden = true; });
    panel.hidden = false;
  }

  const redraw = () => shown.forEach((_, box) => draw(box));
  function zoom(from, to) {
    if (to - from < 2) return;
    range = [Math.max(Math.round(from), 0), Math.min(Math.round(to), all[1])];
    redraw();
  }
  const nearest = (box, event) => {
    const d = shown.get(box), svg = box.querySelector("svg"), r = svg.getBoundingClientRect();
    const x = (event.clientX - r.left) / r.width * W;
    let best = 0;
    d.inside.forEach((i, k) => { if (Math.abs(d.px(d.s.at[i]) - x) < Math.abs(d.px(d.s.at[d.inside[best]]) - x)) best = k; });
    return [best, x];
  };
  function listen(box) {
    const svg = box.querySelector("svg");
    let from = null;
    svg.addEventListener("pointerdown", (e) => { from = nearest(box, e)[1]; });
    svg.addEventListener("pointermove", (e) => {
      const d = shown.get(box);
      if (!d || !d.inside.length) return;
      const [k, x] = nearest(box, e);
      show(box, k);
      if (from !== null && e.buttons) {
        d.drag.setAttribute("x", Math.min(from, x));
        d.drag.setAttribute("width", Math.abs(x - from));
      }
    });
    svg.addEventListener("pointerup", (e) => {
      if (from === null || !shown.get(box).inside.length) return;
      const [k, x] = nearest(box, e), back = (p) => range[0] + (p - L) / (W - L - R) * (range[1] - range[0]);
      if (Math.abs(x - from) > 12) zoom(back(Math.min(from, x)), back(Math.max(from, x)));
      else {
        show(box, k);
        pin(box);
      }
      from = null;
    });
    svg.addEventListener("dblclick", () => { range = all.slice(); redraw(); });
    svg.addEventListener("keydown", (e) => {
      const d = shown.get(box);
      if (!d) return;
      const to = { ArrowLeft: d.at - 1, ArrowRight: d.at + 1, Home: 0, End: d.inside.length - 1 }[e.key];
      if (to !== undefined) show(box, to);
      else if (e.key === "Enter") pin(box);
      else if (e.key === "Escape") {
        range = all.slice();
        redraw();
        panel.hidden = true;
      } else return;
      e.preventDefault();
    });
  }

  function table(box) {
    const s = series(box.dataset.s), t = document.createElement("table");
    t.innerHTML = "<thead><tr><th class=t>from</th><th class=t>to</th><th>level</th><th>band</th></tr></thead>";
    const body = t.createTBody();
    for (const [a, b, v, lo, hi] of s.s) {
      const row = body.insertRow();
      for (const text of [data.commits[a] + " " + day(a), data.commits[b] + " " + day(b), amount(v, s.u), amount(lo, s.u) + " to " + amount(hi, s.u)]) row.insertCell().textContent = text;
      row.cells[0].className = row.cells[1].className = "t";
    }
    return t;
  }
  const boxes = [...document.querySelectorAll(".history")];
  const seen = new IntersectionObserver((entries) => entries.forEach((e) => {
    if (!e.isIntersecting || shown.has(e.target)) return;
    draw(e.target);
    listen(e.target);
    const more = e.target.querySelector("details");
    more.addEventListener("toggle", () => { if (more.open && !more.querySelector("table")) more.append(table(e.target)); });
  }), { rootMargin: "300px" });
  boxes.forEach((box) => seen.observe(box));

  const find = document.getElementById("find"), told = document.getElementById("found");
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    boxes.forEach((box) => {
      const hit = words.every((w) => box.dataset.name.includes(w));
      box.hidden = !hit;
      n += hit;
    });
    told.textContent = words.length ? `${n} of ${boxes.length} histories` : "";
    document.querySelectorAll("details.more").forEach((d) => { if (words.length) d.open = true; });
  });
  document.getElementById("last").addEventListener("change", (e) => {
    range = e.target.value === "all" ? all.slice() : [Math.max(all[1] + 1 - Number(e.target.value), 0), all[1]];
    redraw();
  });
  document.getElementById("log").addEventListener("change", (e) => {
    logarithmic = e.target.checked;
    redraw();
  });
  document.querySelectorAll("a[data-to]").forEach((a) => a.addEventListener("click", () => {
    const to = document.getElementById("s" + a.dataset.to), more = to && to.closest("details");
    if (more) more.open = true;
  }));
})();
