// What dcmjs' dicomweb-client gets of one image through a viewing; printed as JSON.
// node ask.mjs <address of DICOMweb> <token of a viewing> <study> <series> <instance>
import client from "dicomweb-client";
import XMLHttpRequest from "xhr2";

globalThis.XMLHttpRequest = XMLHttpRequest;
const [, , url, token, studyInstanceUID, seriesInstanceUID, sopInstanceUID] = process.argv;
const headers = { Authorization: `Bearer ${token}` };
const web = new client.api.DICOMwebClient({ url, headers });
const uids = { studyInstanceUID, seriesInstanceUID, sopInstanceUID };
const told = (buffer) => Buffer.from(buffer).toString("base64");

const studies = await web.searchForStudies({ queryParams: { fuzzymatching: true, PatientName: "患者㛃" } });
const series = await web.searchForSeries({ studyInstanceUID });
const metadata = await web.retrieveStudyMetadata({ studyInstanceUID });
const [frame] = await web.retrieveInstanceFrames({ ...uids, frameNumbers: [1] });
const instance = await web.retrieveInstance(uids);
const [rendered] = await web.retrieveInstanceRendered(uids);
const stranger = new client.api.DICOMwebClient({ url, errorInterceptor: () => {} });
const refused = await stranger.searchForStudies().then(
  () => 0,
  (error) => error.status,
);
const got = { studies, series, metadata, refused };
got.frame = told(frame);
got.instance = told(instance);
got.rendered = told(rendered);
process.stdout.write(JSON.stringify(got));
