// One interaction with each client in JavaScript; what came back is printed as JSON.
// node ask.mjs <smart|kit> <base of the FHIR service> <token> <id of a Patient there>
import FHIR from "fhirclient";
import { Client } from "fhir-kit-client";

const [, , which, base, token, patient] = process.argv;
const observation = {
  resourceType: "Observation",
  status: "final",
  code: { text: "白蛋白" },
  subject: { reference: `Patient/${patient}` },
  effectiveDateTime: "2026-11-20T08:00:00+08:00",
  valueQuantity: { value: 41.5, unit: "g/L" },
};

async function smart() {
  const client = new FHIR.FhirClient(base);
  const headers = { Authorization: `Bearer ${token}` };
  const ask = (url, more = {}) => client.fhirRequest(url, { ...more, headers: { ...headers, ...more.headers } });
  const json = { "Content-Type": "application/fhir+json" };
  const made = await ask("Observation", { method: "POST", body: JSON.stringify(observation), headers: json });
  const read = await ask(`Observation/${made.id}`);
  const found = await ask(`Observation?_id=${made.id}`);
  return { made, read, found };
}

async function kit() {
  const client = new Client({ baseUrl: base, bearerToken: token });
  const made = await client.create({ resourceType: "Observation", body: observation });
  const read = await client.read({ resourceType: "Observation", id: made.id });
  const found = await client.resourceSearch({
    resourceType: "Observation",
    searchParams: { _id: made.id },
  });
  const amended = { ...read, status: "amended" };
  const updated = await client.update({ resourceType: "Observation", id: made.id, body: amended });
  const history = await client.history({ resourceType: "Observation", id: made.id });
  const statement = await client.capabilityStatement();
  return { made, read, found, updated, history, statement };
}

console.log(JSON.stringify(await { smart, kit }[which]()));
