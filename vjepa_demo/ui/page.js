// Runs once when the page has loaded: the way past the head, the label of a folder, and the switch between light and dark, which follows the system until it is pressed.
() => {
  const KEY = "vjepa-demo-theme";
  const dark = () => document.body.classList.contains("dark");
  const button = document.querySelector(".theme-switch");
  const apply = (on) => {
    document.body.classList.toggle("dark", on);
    document.documentElement.style.colorScheme = on ? "dark" : "light"; // of scrollbars
    if (button) button.title = on ? "Light" : "Dark";
    button?.setAttribute("aria-label", button.title);
  };
  // Before all that the head of the page holds, whatever order its parts arrive in.
  const skip = Object.assign(document.createElement("a"), { href: "#viewer", className: "skip-link", textContent: "Skip to the viewer" });
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address stays what it is
    document.querySelector("#viewer .pv-stage")?.focus();
  });
  document.querySelector(".gradio-container").prepend(skip);
  // The list beside it leads to the same checkpoint: one stop less on the way to the picture.
  const why = document.querySelector(".page-why");
  const pass = () => why?.querySelectorAll("button").forEach((other) => { other.tabIndex = -1; });
  pass();
  if (why) new MutationObserver(pass).observe(why, { childList: true, subtree: true });
  // A folder of references that comes in gives its name to the empty field for their label; Gradio keeps names of files alone.
  const named = (name) => {
    const field = document.querySelector(".own-label :is(input, textarea)");
    if (!name || !field || (field.value && field.value !== field.dataset.given)) return;
    field.value = field.dataset.given = name;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  // What an event of ours runs with a file that has just been made: saves it, once however often it is told.
  let saved = null;
  window.saveMade = (file) => {
    if (file?.url && file.url !== saved) {
      saved = file.url;
      setTimeout(() => { saved = null; }, 1000);
      Object.assign(document.createElement("a"), { href: file.url, download: file.orig_name || "" }).click();
    }
    return [];
  };
  document.addEventListener("change", ({ target }) => {
    if (target.webkitdirectory && target.closest(".own-drop")) named(target.files[0]?.webkitRelativePath.split("/")[0]);
  }, { capture: true });
  document.addEventListener("drop", ({ target, dataTransfer }) => {
    const entry = target.closest?.(".own-drop") && dataTransfer.items[0]?.webkitGetAsEntry();
    if (entry?.isDirectory) named(entry.name);
  }, { capture: true });
  // A browser that speaks English swallows the comma that others write: 0,5 would be 05.
  document.addEventListener("beforeinput", (event) => {
    if (event.data !== "," || event.target.type !== "number" || (0.5).toLocaleString()[1] === ",") return;
    event.preventDefault();
    document.execCommand("insertText", false, ".");
  }, { capture: true });
  // In a frame on somebody's page: the picture and what belongs to it, nothing around them.
  if (new URLSearchParams(location.search).get("embed") === "1") {
    const style = document.createElement("style");
    // With the weight of an id, since Gradio puts its container's classes before every rule of the style sheet.
    style.textContent = ":is(#id, .page-bar > *, .page-choice, .about, footer) { display: none !important; } :is(#id, .page-head) { min-height: 0 !important; }";
    document.head.append(style);
  }
  // At this address Gradio believes that its API page is open, and has not loaded it: its button closes it, then opens it.
  if (new URLSearchParams(location.search).get("view") === "api") {
    const open = document.querySelector("footer .show-api");
    open?.click();
    open?.click();
  }
  // A browser that blocks storage says so by an error at the very name of it.
  const stored = (() => { try { return localStorage.getItem(KEY); } catch { return null; } })();
  const asked = new URLSearchParams(location.search).get("__theme");
  apply(asked ? asked === "dark" : stored ? stored === "dark" : dark());
  if (button) {
    button.addEventListener("click", () => {
      apply(!dark());
      try { localStorage.setItem(KEY, dark() ? "dark" : "light"); } catch { /* it is not remembered */ }
    });
  }
}
