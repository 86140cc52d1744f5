// Asks the collector.

/** Asks one question; an answer that is not 200 throws its `error` sentence. */
export async function ask(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  let response;
  try {
    response = await fetch(`api/v1/${path}${query ? `?${query}` : ""}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The collector does not answer. Is flamewatch-collector still running?", { cause: error });
  }
  const answer = await response.json().catch(() => ({ error: `the answer (${response.status}) is not JSON` }));
  if (!response.ok) throw new Error(answer.error ?? `status ${response.status}`);
  return answer;
}
