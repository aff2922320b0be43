// What the page asks the server.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// `body` is JSON already when it is a string.
async function post(path, body) {
  let response;
  try {
    response = await fetch(`admin/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Fanout-Admin": "1" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(15_000),
    });
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  if (!response.ok) throw new Refused(response.status, (await response.text()).trim());
  return response.json();
}

export const logIn = (password) => post("auth", { password });
export const logOut = () => post("leave", {});
export const view = (name, request) => post(`api/${name}`, request);

// A method of the server API: its result, or its error thrown.
export async function call(method, request) {
  const answer = await post(`api/${method}`, request);
  if (answer.error) throw new Refused(answer.error.code, answer.error.message);
  return answer;
}
