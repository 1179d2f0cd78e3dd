"use strict";
document.documentElement.classList.add("scripted");

// ---- light and dark: the system's choice until the button is pressed; remembered where that is possible
{
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const memory = {
    read() { try { return localStorage.getItem("hvg-theme"); } catch { return null; } },
    write(theme) { try { localStorage.setItem("hvg-theme", theme); } catch { /* stays for this visit */ } },
  };
  let chosen = memory.read();
  const apply = () => {
    const dark = chosen ? chosen === "dark" : system.matches;
    if (chosen) document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  };
  button.addEventListener("click", () => {
    chosen = button.getAttribute("aria-pressed") === "true" ? "light" : "dark";
    memory.write(chosen);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

// ---- videos: they play while they can be seen, unless somebody paused them or wants less motion
{
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const all = document.getElementById("pause-all");
  const players = [...document.querySelectorAll(".player")].map((element) => ({
    video: element.querySelector("video"),
    button: element.querySelector(".play"),
    wanted: !still.matches,
    seen: false,
  }));
  const play = (player) => {
    if (player.wanted && player.seen) player.video.play().catch(() => { /* the browser forbids it: show as paused */ });
    else player.video.pause();
  };
  const say = (player) => {
    player.button.classList.toggle("paused", !player.wanted);
    player.button.querySelector(".verb").textContent = player.wanted ? "Pause" : "Play";
    all.textContent = players.some((one) => one.wanted) ? "Pause all" : "Play all";
  };
  const want = (player, wanted) => {
    player.wanted = wanted;
    play(player);
    say(player);
  };
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const player = players.find((one) => one.video === entry.target);
      player.seen = entry.isIntersecting;
      play(player);
    }
  });
  for (const player of players) {
    player.video.autoplay = false;
    player.video.controls = false;
    player.video.muted = true;
    player.button.addEventListener("click", () => want(player, !player.wanted));
    player.video.addEventListener("click", () => want(player, !player.wanted));
    say(player);
    play(player);
    observer.observe(player.video);
  }
  all?.addEventListener("click", () => {
    const wanted = !players.some((one) => one.wanted);
    for (const player of players) want(player, wanted);
  });
  still.addEventListener("change", () => {
    for (const player of players) want(player, !still.matches);
  });
}

// ---- tables: a heading's button sorts by its column, once more turns the order; empty cells stay last
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const body = table.tBodies[0];
  const order = new Intl.Collator(undefined, { numeric: true });
  const compare = (one, other, numeric) => (numeric ? Number(one) - Number(other) : order.compare(one, other));
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const falling = before === "ascending";
      const value = (row) => row.cells[column].dataset.value;
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === "" || b === "") return Number(a === "") - Number(b === "");
        return falling ? -compare(a, b, numeric) : compare(a, b, numeric);
      });
      body.append(...rows);
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    });
  });
}

// ---- sheets of samples: one at a time, chosen by a slider
for (const section of document.querySelectorAll(".sheets")) {
  const slider = section.querySelector("input");
  if (!slider) continue;
  const figures = [...section.querySelectorAll("figure")];
  const show = () => {
    figures.forEach((figure, place) => figure.classList.toggle("now", place === Number(slider.value)));
    slider.setAttribute("aria-valuetext", `step ${figures[Number(slider.value)].dataset.step}`);
  };
  slider.addEventListener("input", show);
  show();
}
