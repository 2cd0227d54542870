"""Speaks CRI, by which Kubernetes drives a container runtime, to a daemon's socket: cri.py FOLDER SOCKET

FOLDER is what scripts/setup-cri makes. Each line of standard input is a list in JSON, and is answered by one:

    ["call", "Service.Method", REQUEST]     a call
    ["stream", URL, INPUT, UNTIL]           exec or attach: sends INPUT, and reads until UNTIL was said, or to the end
    ["forward", URL, PORT, INPUT]           sends INPUT to a port of a pod

Fields have their names in api.proto; bytes of an answer are text. An error of the daemon is {"failed": TEXT}.
"""

import json
import struct
import sys

folder, socket = sys.argv[1:]
sys.path.insert(0, f"{folder}/lib")

import grpc
import websocket
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

# What one call may take, in seconds.
PATIENCE = 30

pool = descriptor_pool.DescriptorPool()
with open(f"{folder}/api.binpb", "rb") as api:
    for description in descriptor_pb2.FileDescriptorSet.FromString(api.read()).file:
        pool.Add(description)
channel = grpc.insecure_channel(f"unix://{socket}")


def call(name, asked):
    service, method = name.split(".")
    method = pool.FindServiceByName(f"runtime.v1.{service}").methods_by_name[method]
    request = json_format.ParseDict(asked, message_factory.GetMessageClass(method.input_type)())
    answer_class = message_factory.GetMessageClass(method.output_type)
    path = f"/runtime.v1.{service}/{method.name}"
    send = channel.unary_unary(path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer_class.FromString)
    answer = send(request, timeout=PATIENCE)
    told = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    for field, value in answer.ListFields():
        if field.type == field.TYPE_BYTES:
            told[field.name] = value.decode(errors="replace")
    return told


def connect(url):
    return websocket.create_connection(url.replace("http", "ws", 1), subprotocols=["v4.channel.k8s.io"], timeout=PATIENCE)


def frames(connection):
    """Channel and content of each message, until the other end closes."""
    while True:
        opcode, message = connection.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return
        if message:
            yield message[0], message[1:]


def stream(url, given, until):
    """Channels: 0 is standard input, 1 and 2 are output and error, 3 says how it has ended."""
    connection = connect(url)
    if given:
        connection.send_binary(b"\0" + given.encode())
    said = {1: b"", 2: b"", 3: b""}
    for channel, content in frames(connection):
        said[channel] += content
        if until and until.encode() in said[1]:
            break
    connection.close()
    out, err, status = (said[channel].decode(errors="replace") for channel in (1, 2, 3))
    return {"stdout": out, "stderr": err, "status": json.loads(status) if status else None}


def forward(url, port, given):
    """Channel 0 is the port's data, 1 its error; each begins with the port's number."""
    connection = connect(f"{url}?port={port}")
    assert connection.recv_data()[1] == b"\0" + struct.pack("<H", port)
    assert connection.recv_data()[1] == b"\1" + struct.pack("<H", port)
    connection.send_binary(b"\0" + given.encode())
    said = {0: b"", 1: b""}
    for channel, content in frames(connection):
        said[channel] += content
        if said[1] or len(said[0]) >= len(given):
            break
    connection.close()
    return {"data": said[0].decode(errors="replace"), "error": said[1].decode(errors="replace")}


for line in sys.stdin:
    verb, *rest = json.loads(line)
    try:
        answer = {"call": call, "stream": stream, "forward": forward}[verb](*rest)
    except grpc.RpcError as error:
        answer = {"failed": f"{error.code().name}: {error.details()}"}
    print(json.dumps(answer), flush=True)
