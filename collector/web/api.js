// Asks the collector.

/** Asks one question; an answer that is not 200 throws its `error` sentence. */
export async function ask(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  return answerOf(`${path}${query ? `?${query}` : ""}`, { signal });
}

/** Tells the collector something; `body` is sent as JSON. */
export function tell(path, method, body = undefined) {
  const headers = { "content-type": "application/json" };
  return answerOf(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

async function answerOf(path, request) {
  let response;
  try {
    response = await fetch(`api/v1/${path}`, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The collector does not answer. Is flamewatch-collector still running?", { cause: error });
  }
  const answer = await response.json().catch(() => ({ error: `the answer (${response.status}) is not JSON` }));
  if (!response.ok) throw new Error(answer.error ?? `status ${response.status}`);
  return answer;
}
