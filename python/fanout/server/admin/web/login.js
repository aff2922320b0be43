// Asks for the password.

import { logIn, Refused } from "./api.js";
import { h, setText } from "./dom.js";

export function login(view, done) {
  const password = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const send = h("button", { type: "submit", id: "login" }, "Log in");
  const problem = h("p", { className: "problem", id: "problem", role: "alert" });
  const form = h("form", {
    className: "card login",
    onsubmit: async (event) => {
      event.preventDefault();
      send.disabled = true;
      setText(problem, "");
      try {
        await logIn(password.value);
        done();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        setText(problem, error.status === 401 ? "That is not the password." : error.message);
        password.select();
      } finally {
        send.disabled = false;
      }
    },
  },
  h("p", { className: "mark" }, h("img", { src: "admin/web/mark.svg", alt: "", width: 36, height: 36 }), "fanout"),
  // For password managers, which want to know whose it is.
  h("input", { type: "text", value: "admin", autocomplete: "username", hidden: true, readOnly: true }),
  h("label", { htmlFor: "password" }, "Password"), password, problem, send);
  view.replaceChildren(form);
  password.focus();
}
