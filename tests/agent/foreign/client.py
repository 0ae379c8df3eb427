"""A controller in Python: installs an image, watches it, cancels another install, reads the details of an error.

usage: client.py TASK.json    with grpcio and, beside it, what grpc_tools made of proto/, on PYTHONPATH

It knows nothing of the agent but its .proto files. It prints what it saw as one JSON object.
"""

import json
import sys
import uuid
from pathlib import Path

import grpc
from bms.agent.v1 import disk_pb2, disk_pb2_grpc, operation_pb2, operation_pb2_grpc, provisioning_pb2, provisioning_pb2_grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2


def install(service, task, disk, url, request_id):
    """Begins an install of the task's image from a URL; gives the operation."""
    image = provisioning_pb2.HttpImage(url=url, size_bytes=task["size"], root=bytes.fromhex(task["root"]))
    request = provisioning_pb2.InstallImageRequest(
        request_id=request_id,
        disk=json_format.ParseDict(disk, disk_pb2.DiskSelector()),
        source=provisioning_pb2.ImageSource(http=image),
    )
    return service.InstallImage(request, timeout=60)


def watch(service, name):
    """Follows an operation to its end; gives the last state and the names of the stages."""
    stages = []
    for state in service.WatchOperation(operation_pb2.WatchOperationRequest(name=name), timeout=180):
        metadata = operation_pb2.OperationMetadata()
        state.operation.metadata.Unpack(metadata)
        stage = operation_pb2.Stage.Name(metadata.stage)
        if stage not in stages:
            stages.append(stage)
    return state.operation, stages


def error_info(status):
    """The ErrorInfo of a google.rpc.Status."""
    info = error_details_pb2.ErrorInfo()
    if not any(detail.Unpack(info) for detail in status.details):
        raise SystemExit("an error without ErrorInfo")
    return {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}


def refusal(call):
    """The error of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        return {"code": error.code().name} | error_info(status_pb2.Status.FromString(details))
    raise SystemExit("what should have been refused was done")


def main():
    task = json.loads(Path(sys.argv[1]).read_text())
    pem = {kind: Path(task[kind]).read_bytes() for kind in ("ca", "key", "certificate")}
    credentials = grpc.ssl_channel_credentials(pem["ca"], pem["key"], pem["certificate"])
    seen = {}
    with grpc.secure_channel(task["address"], credentials) as channel:
        provisioning = provisioning_pb2_grpc.ProvisioningServiceStub(channel)
        operations = operations_pb2_grpc.OperationsStub(channel)
        watcher = operation_pb2_grpc.OperationServiceStub(channel)
        seen["disks"] = [disk.name for disk in disk_pb2_grpc.DiskServiceStub(channel).ListDisks(disk_pb2.ListDisksRequest()).disks]

        request_id = str(uuid.uuid4())
        begun = install(provisioning, task, task["disk"], task["url"], request_id)
        ended, seen["stages"] = watch(watcher, begun.name)
        result = provisioning_pb2.InstallResult()
        ended.response.Unpack(result)
        seen["root"], seen["written_bytes"] = result.root.hex(), result.progress.written_bytes
        again = install(provisioning, task, task["disk"], task["url"], request_id)
        seen["same_operation"] = again.name == begun.name

        stuck = install(provisioning, task, task["other_disk"], task["stalled_url"], str(uuid.uuid4()))
        operations.CancelOperation(operations_pb2.CancelOperationRequest(name=stuck.name))
        cancelled, _ = watch(watcher, stuck.name)
        seen["cancelled"] = error_info(cancelled.error)

        unknown = {"backing_file": "/nowhere"}
        seen["unknown_disk"] = refusal(lambda: install(provisioning, task, unknown, task["url"], str(uuid.uuid4())))
        seen["no_request_id"] = refusal(lambda: install(provisioning, task, task["disk"], task["url"], ""))
    print(json.dumps(seen))


main()
