export async function showAlerts() { return null; }
