"use strict";
// Read-outs of charts, and clouds of points that can be turned. The data stand in the page.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const json = (element) => JSON.parse(element.textContent);

  function readOut(chart) {
    const svg = chart.querySelector("svg"), out = chart.querySelector("output");
    const cursor = chart.querySelector(".cursor"), data = json(chart.querySelector("script"));
    let at = -1;
    const show = (i) => {
      at = Math.min(Math.max(i, 0), data.x.length - 1);
      cursor.setAttribute("x1", data.x[at]);
      cursor.setAttribute("x2", data.x[at]);
      cursor.classList.add("on");
      const values = data.series.map((s) => s.name + " " + (s.y[at] === null ? "–" : s.y[at]));
      out.textContent = data.names[at] + ": " + values.join(", ");
    };
    const hide = () => {
      out.textContent = "";
      cursor.classList.remove("on");
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      let best = 0;
      data.x.forEach((v, i) => { if (Math.abs(v - x) < Math.abs(data.x[best] - x)) best = i; });
      show(best);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: data.x.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(to);
    });
  }

  const clouds = {};
  function load(id) {
    if (!clouds[id]) {
      const data = json(document.getElementById(id));
      const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const view = new DataView(bytes(data.xyz).buffer);
      data.xyz = Float32Array.from({ length: view.byteLength / 2 }, (_, i) => view.getInt16(2 * i, true) / 32767 * data.radius);
      data.group = bytes(data.group);
      data.reach = 0;
      for (let i = 0; i < data.xyz.length; i += 3) {
        data.reach = Math.max(data.reach, Math.hypot(data.xyz[i], data.xyz[i + 1], data.xyz[i + 2]));
      }
      clouds[id] = data;
    }
    return clouds[id];
  }

  class Cloud {
    constructor(canvas) {
      this.canvas = canvas;
      this.data = load(canvas.dataset.points);
      this.hidden = new Set();
      this.zoom = 1;
      this.sparse = Math.min(Math.max((4000 / this.data.group.length) ** 0.25, 1), 2); // few points are drawn larger
      this.look(Number(canvas.dataset.view));
      new ResizeObserver(() => this.draw()).observe(canvas);
      dark.addEventListener("change", () => this.draw());
      this.draw(); // at once; the observer comes with the next layout
      if (!("turns" in canvas.dataset)) return;
      this.listen();
      this.turn(0.45, 0.3); // not quite along an axis, so that it is seen to have depth
    }
    look(view) {
      this.rows = this.data.views[view].rows.map((row) => row.slice());
    }
    turn(x, y) { // rotate about the up and the right direction of the screen
      const [u, v, w] = this.rows;
      const mix = (a, b, angle) => [
        a.map((p, i) => p * Math.cos(angle) + b[i] * Math.sin(angle)),
        b.map((p, i) => p * Math.cos(angle) - a[i] * Math.sin(angle)),
      ];
      const [u1, w1] = mix(u, w, x), [v1, w2] = mix(v, w1, -y);
      this.rows = [u1, v1, w2];
      this.draw();
    }
    scale(factor) {
      this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), 40);
      this.draw();
    }
    listen() {
      const canvas = this.canvas, viewer = canvas.closest(".viewer");
      let last = null;
      canvas.addEventListener("pointerdown", (e) => { last = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener("pointermove", (e) => {
        if (!last) return;
        this.turn((e.clientX - last[0]) / 150, (e.clientY - last[1]) / 150);
        last = [e.clientX, e.clientY];
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
      canvas.addEventListener("wheel", (e) => {
        if (document.activeElement !== canvas) return; // the page scrolls, unless the picture was clicked
        e.preventDefault();
        this.scale(Math.exp(-e.deltaY / 500));
      }, { passive: false });
      canvas.addEventListener("keydown", (e) => {
        const turn = { ArrowLeft: [-0.08, 0], ArrowRight: [0.08, 0], ArrowUp: [0, -0.08], ArrowDown: [0, 0.08] }[e.key];
        if (turn) this.turn(...turn);
        else if (e.key === "+" || e.key === "=") this.scale(1.2);
        else if (e.key === "-") this.scale(1 / 1.2);
        else return;
        e.preventDefault();
      });
      viewer.querySelectorAll("button").forEach((b) => b.addEventListener("click", () => {
        this.look(Number(b.dataset.view));
        this.zoom = 1;
        this.draw();
      }));
      viewer.querySelectorAll("input").forEach((box) => box.addEventListener("change", () => {
        this.hidden[box.checked ? "delete" : "add"](Number(box.dataset.group));
        this.draw();
      }));
    }
    draw() {
      const canvas = this.canvas, dense = devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width || !height) return;
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
      const c = canvas.getContext("2d");
      c.scale(dense, dense);
      c.translate(width / 2, height / 2);
      const unit = 0.46 * Math.min(width, height) / (this.data.reach || 1) * this.zoom;
      this.rings(c, unit);
      const size = Math.min(Math.max(Math.min(width, height) / 330 * Math.sqrt(this.zoom) * this.sparse, 1), 4.5);
      this.data.groups.forEach((group, i) => { if (!this.hidden.has(i)) this.points(c, unit, i, group, size); });
      this.axes(c, unit);
    }
    project(x, y, z, row) {
      return row[0] * x + row[1] * y + row[2] * z;
    }
    points(c, unit, which, group, size) {
      const { xyz, group: of } = this.data, [u, v] = this.rows;
      c.beginPath();
      for (let i = 0, j = 0; i < of.length; i++, j += 3) {
        if (of[i] !== which) continue;
        const x = unit * this.project(xyz[j], xyz[j + 1], xyz[j + 2], u);
        const y = -unit * this.project(xyz[j], xyz[j + 1], xyz[j + 2], v);
        if (group.mark === "dot") {
          c.moveTo(x + size, y);
          c.arc(x, y, size, 0, 6.3);
        } else {
          const arm = size + 1, slant = group.mark === "cross" ? arm : 0;
          c.moveTo(x - arm, y - slant); c.lineTo(x + arm, y + slant);
          c.moveTo(x + slant, y - arm); c.lineTo(x - slant, y + arm);
        }
      }
      if (group.mark === "dot") { c.fillStyle = colour(group.colour); c.fill(); }
      else { c.strokeStyle = colour(group.colour); c.lineWidth = 1.2; c.stroke(); }
    }
    rings(c, unit) {
      c.font = "12px system-ui, sans-serif";
      c.textAlign = "center";
      for (const ring of this.data.rings) {
        c.beginPath();
        c.arc(0, 0, ring.r * unit, 0, 6.3);
        c.strokeStyle = colour("rule");
        c.lineWidth = 1;
        c.stroke();
        c.fillStyle = colour("soft");
        c.fillText(ring.name, ring.r * unit * Math.SQRT1_2, ring.r * unit * Math.SQRT1_2 + 12);
      }
    }
    axes(c, unit) {
      const [u, v] = this.rows;
      c.font = "600 13px system-ui, sans-serif";
      c.textAlign = "center";
      c.textBaseline = "middle";
      const longest = Math.max(...this.data.axes.map((a) => Math.hypot(...a.at)));
      const factor = 0.4 * this.data.reach / longest / this.zoom;
      for (const axis of this.data.axes) {
        const x = unit * factor * this.project(...axis.at, u), y = -unit * factor * this.project(...axis.at, v);
        const length = Math.hypot(x, y);
        if (length < 8) continue; // it points at the reader
        c.beginPath();
        c.moveTo(0, 0);
        c.lineTo(x, y);
        c.strokeStyle = colour("ink");
        c.lineWidth = 1.5;
        c.stroke();
        c.lineWidth = 4;
        c.strokeStyle = colour("card");
        c.strokeText(axis.name, x * (1 + 12 / length), y * (1 + 12 / length));
        c.fillStyle = colour("ink");
        c.fillText(axis.name, x * (1 + 12 / length), y * (1 + 12 / length));
      }
      c.textBaseline = "alphabetic";
    }
  }

  document.querySelectorAll(".chart").forEach((chart) => { if (chart.querySelector("output")) readOut(chart); });
  document.querySelectorAll("canvas.cloud").forEach((canvas) => new Cloud(canvas));
})();
