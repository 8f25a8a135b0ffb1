// Everything on the account page works without this script: it copies to the clipboard, and asks before something ends.
"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    document.getElementById("copied").textContent = button.textContent;
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}
for (const form of document.querySelectorAll("form[data-confirm]")) {
  form.addEventListener("submit", (event) => { if (!confirm(form.dataset.confirm)) event.preventDefault(); });
}
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => { form.querySelector("button[type=submit]").disabled = true; });
  addEventListener("pageshow", () => { form.querySelector("button[type=submit]").disabled = false; });
}
