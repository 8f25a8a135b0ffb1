// Asks the browser for a passkey, and sends its answer in the form. Without this script there are no passkeys.
"use strict";
const able = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON && navigator.credentials);
const sentences = {
  NotAllowedError: "The passkey was not used: it was cancelled, or took too long. Try again.",
  InvalidStateError: "This passkey is registered already. Choose another one.",
  SecurityError: "Passkeys cannot be used at this address. Use the address that your administrator has given you.",
};
for (const form of document.querySelectorAll("form[data-passkey]")) {
  const button = form.querySelector("button[type=submit]");
  const problem = form.querySelector("[data-problem]");
  const explain = (text) => { problem.textContent = text; problem.hidden = false; };
  const ask = async (options) => (form.dataset.passkey === "create"
    ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) }));
  form.querySelector("[data-script]").hidden = !able;
  form.querySelector("[data-no-script]").textContent = "This browser cannot use passkeys.";
  form.querySelector("[data-no-script]").hidden = able;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    try {
      const answer = await ask(JSON.parse(form.dataset.options));
      form.elements.answer.value = JSON.stringify(answer);
      for (const field of form.querySelectorAll("[data-from]")) {
        const other = document.getElementById(field.dataset.from);
        if (other) field.value = other.type === "checkbox" && !other.checked ? "" : other.value;
      }
      form.submit();
    } catch (error) {
      explain(sentences[error.name] || "The passkey could not be used. Try again.");
      button.disabled = false;
    }
  });
  addEventListener("pageshow", () => { button.disabled = false; });
}
