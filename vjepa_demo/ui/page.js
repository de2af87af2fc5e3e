// Runs once when the page has loaded: the switch between light and dark, which follows the system until it is pressed.
() => {
  const KEY = "vjepa-demo-theme";
  const dark = () => document.body.classList.contains("dark");
  const button = document.querySelector(".theme-switch");
  const apply = (on) => {
    document.body.classList.toggle("dark", on);
    if (button) button.textContent = on ? "Light" : "Dark";
  };
  const stored = localStorage.getItem(KEY);
  const asked = new URLSearchParams(location.search).get("__theme");
  apply(asked ? asked === "dark" : stored ? stored === "dark" : dark());
  if (button) {
    button.addEventListener("click", () => {
      apply(!dark());
      localStorage.setItem(KEY, dark() ? "dark" : "light");
    });
  }
}
