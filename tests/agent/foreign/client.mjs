// A controller in Node: installs an image, watches it, cancels another install, reads the details of an error.
//
// usage: client.mjs MODULES TASK.json    with @grpc/grpc-js and @grpc/proto-loader in MODULES
//
// It knows nothing of the agent but its .proto files. It prints what it saw as one JSON object.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const task = JSON.parse(readFileSync(process.argv[3], "utf8"));
const files = ["bms/agent/v1/disk.proto", "bms/agent/v1/operation.proto", "bms/agent/v1/provisioning.proto",
  "google/longrunning/operations.proto", "google/rpc/error_details.proto"];
const types = loader.loadSync(files, { includeDirs: [task.proto], keepCase: true, longs: Number, enums: String, defaults: true });
const { bms: { agent: { v1 } }, google } = grpc.loadPackageDefinition(types);

const [ca, key, certificate] = [task.ca, task.key, task.certificate].map((path) => readFileSync(path));
const credentials = grpc.credentials.createSsl(ca, key, certificate);
const client = (Service) => new Service(task.address, credentials);
const provisioning = client(v1.ProvisioningService);
const disks = client(v1.DiskService);
const operations = client(google.longrunning.Operations);
const watcher = client(v1.OperationService);

const call = (service, method, request) => new Promise((resolve, reject) => {
  const deadline = Date.now() + 60_000;
  service[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
});

/** What an Any holds. */
const unpack = (any) => types[any.type_url.split("/").pop()].deserialize(any.value);

/** Begins an install of the task's image from a URL; gives the operation. */
const install = (disk, url, request_id) => {
  const http = { url, size_bytes: task.size, root: Buffer.from(task.root, "hex") };
  return call(provisioning, "InstallImage", { request_id, disk, source: { http } });
};

/** Follows an operation to its end; gives the last state and the names of the stages. */
const watch = async (name) => {
  const stages = new Set();
  let last;
  for await (const state of watcher.WatchOperation({ name }, { deadline: Date.now() + 180_000 })) {
    last = state.operation;
    stages.add(unpack(last.metadata).stage);
  }
  return { last, stages: [...stages] };
};

/** The ErrorInfo of a google.rpc.Status. */
const errorInfo = (status) => {
  const { reason, domain, metadata } = status.details.filter(({ type_url }) => type_url.endsWith("ErrorInfo")).map(unpack)[0];
  return { reason, domain, metadata };
};

/** The error of a call that must fail. */
const refusal = async (promise) => {
  const error = await promise.then(() => { throw new Error("what should have been refused was done"); }, (error) => error);
  const [details] = error.metadata.get("grpc-status-details-bin");
  return { code: grpc.status[error.code], ...errorInfo(types["google.rpc.Status"].deserialize(details)) };
};

const seen = { disks: (await call(disks, "ListDisks", {})).disks.map(({ name }) => name) };

const request = randomUUID();
const begun = await install(task.disk, task.url, request);
const { last, stages } = await watch(begun.name);
const result = unpack(last.response);
Object.assign(seen, { stages, root: result.root.toString("hex"), written_bytes: result.progress.written_bytes });
seen.same_operation = (await install(task.disk, task.url, request)).name === begun.name;

const stuck = await install(task.other_disk, task.stalled_url, randomUUID());
await call(operations, "CancelOperation", { name: stuck.name });
seen.cancelled = errorInfo((await watch(stuck.name)).last.error);

seen.unknown_disk = await refusal(install({ backing_file: "/nowhere" }, task.url, randomUUID()));
seen.no_request_id = await refusal(install(task.disk, task.url, ""));

[provisioning, disks, operations, watcher].forEach((service) => service.close());
console.log(JSON.stringify(seen));
