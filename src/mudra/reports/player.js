// Plays the clips of this page on their canvases; without this script the strips below them are read as they stand.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const style = getComputedStyle(document.documentElement);

function paint(name) { return name.startsWith("#") ? name : style.getPropertyValue("--" + name); }

function play(canvas) {
  const film = JSON.parse(canvas.dataset.film), pen = canvas.getContext("2d");
  const [button, slider, output] = ["button", "input", "output"].map((name) => canvas.parentNode.querySelector(name));
  const pictures = film.pictures.map((source) => Object.assign(new Image(), { src: source, onload: draw }));
  const last = film.times.length - 1;
  let moment = Math.floor(last / 2), playing = false, turn = 0, begun = 0, loop = 0;

  function place(figure, row) {
    const at = 3 * (moment * figure.rows + row), [x, y, z] = figure.xyz.slice(at, at + 3);
    if (x === null) return null;
    const middle = 500 * film.aspect;
    return [(middle + (x - middle) * Math.cos(turn) + z * Math.sin(turn)) / 1000, y / 1000];
  }

  function draw() {
    const width = canvas.clientWidth, height = width / film.aspect, scale = devicePixelRatio || 1;
    if (!width) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.lineCap = pen.lineJoin = "round";
    const picture = pictures[moment];
    if (picture && picture.complete) pen.drawImage(picture, 0, 0, width, height);
    const wide = (share) => share * (height / 100) ** 0.6;
    let drawn = pictures.length;
    for (const figure of film.figures) {
      for (const [colour, size, rows] of figure.lines) {
        pen.beginPath();
        let before = null;
        for (const row of rows) {
          const here = place(figure, row);
          if (here && before) pen.lineTo(here[0] * height, here[1] * height);
          else if (here) pen.moveTo(here[0] * height, here[1] * height);
          before = here;
          drawn += Boolean(here);
        }
        if (pictures.length) { pen.strokeStyle = "#0d101580"; pen.lineWidth = wide(size) + 1.6; pen.stroke(); }
        pen.strokeStyle = paint(colour);
        pen.lineWidth = wide(size);
        pen.stroke();
      }
      for (const [colour, size, rows] of figure.dots) {
        pen.fillStyle = paint(colour);
        for (const row of rows) {
          const here = place(figure, row);
          if (!here) continue;
          pen.beginPath();
          drawn += 1;
          pen.arc(here[0] * height, here[1] * height, wide(size) / 2, 0, 7);
          pen.fill();
        }
      }
    }
    if (!drawn) {
      pen.font = "12px sans-serif";
      pen.textAlign = "center";
      pen.fillStyle = paint("muted");
      pen.fillText("not seen", width / 2, height / 2);
    }
    if (output) output.textContent = film.times[moment].toFixed(2) + " s";
    if (slider) slider.value = moment;
  }

  function step(now) {
    const shown = moment;
    const whole = film.times[last] + 0.6, time = ((now - begun) / 1000) % whole; // a short rest before it begins again
    while (moment < last && film.times[moment + 1] <= time) moment += 1;
    if (film.times[moment] > time) moment = 0;
    if (moment !== shown) draw();
    loop = requestAnimationFrame(step);
  }

  function run(wanted) {
    playing = wanted && last > 0;
    cancelAnimationFrame(loop);
    if (button) { button.textContent = playing ? "❚❚" : "▶"; button.ariaLabel = playing ? "pause" : "play"; }
    if (!playing) return;
    if (moment >= last) moment = 0;
    begun = performance.now() - film.times[moment] * 1000;
    loop = requestAnimationFrame(step);
  }

  if (slider) {
    slider.max = last;
    slider.addEventListener("input", () => { run(false); moment = Number(slider.value); draw(); });
    button.addEventListener("click", () => run(!playing));
  } else if (!still) {
    new IntersectionObserver((seen) => run(seen[seen.length - 1].isIntersecting)).observe(canvas);
  }
  if (canvas.classList.contains("turns")) {
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) { turn += event.movementX / 90; draw(); } });
    canvas.addEventListener("dblclick", () => { turn = 0; draw(); });
  }
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  run(Boolean(slider) && !still);
  draw();
}

document.querySelectorAll("[data-film]").forEach(play);
