"""A session that remembers, from Python with stock grpcio.

    python3 stubs.py /tmp/memgate-stubs
    python3 remember.py --stubs /tmp/memgate-stubs --address 127.0.0.1:50061

Creates a session, tells it a fact, buries the fact under other lines, asks for it, and deletes the session.
"""

import argparse
import sys

import grpc

import stubs

FACT = "note: the service code of pump K7 is 4921\n"
QUESTION = "ask: what is the service code of pump K7?"


def other_lines(count):
    for i in range(count):
        yield f"telemetry fan B{i % 10} temperature {20 + i % 70}.{i % 10} degrees status ok\n"


def error_reason(error):
    """The reason that memgate attaches to its errors, e.g. SESSION_BUSY."""
    from google.rpc import error_details_pb2, status_pb2

    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""


def run(channel, lines):
    from memgate.v1 import inference_pb2, inference_pb2_grpc, session_pb2, session_pb2_grpc, types_pb2

    inference = inference_pb2_grpc.InferenceServiceStub(channel)
    sessions = session_pb2_grpc.SessionServiceStub(channel)

    session = sessions.CreateSession(session_pb2.CreateSessionRequest())
    print(f"{session.name}: {session.memory_kind}, {session.session_bytes:,} bytes for its whole life")
    try:
        def requests():
            yield inference_pb2.IngestRequest(session=session.name, text=FACT.encode())
            for line in other_lines(lines):
                yield inference_pb2.IngestRequest(text=line.encode())

        for progress in inference.Ingest(requests()):
            last = progress
        print(f"ingested {last.ingested_tokens:,} tokens at {last.tokens_per_s:,.0f} tokens/s")

        answer = ""
        request = inference_pb2.GenerateRequest(session=session.name, prompt=QUESTION, max_tokens=16, stop=["\n"])
        for response in inference.Generate(request):
            event = response.WhichOneof("event")
            if event == "route":
                path, reason = types_pb2.Path.Name(response.route.path), types_pb2.RouteReason.Name(response.route.reason)
                print(f"{path} ({reason}), full KV cache would take {response.route.full_kv_bytes:,} bytes")
            elif event == "delta":
                answer += response.delta.text
            else:
                held = response.done.accounting
                print(f"{held.exact_tokens} exact, {held.salient_tokens} salient, {held.compressed_tokens} compressed, "
                      f"{held.forgotten_tokens} forgotten")
        print(f"{QUESTION}{answer}")
    finally:
        sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=session.name))

    try:
        sessions.GetSession(session_pb2.GetSessionRequest(name=session.name))
    except grpc.RpcError as error:
        print(f"afterwards: {error.code().name} ({error_reason(error)})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--address", default="127.0.0.1:50061")
    parser.add_argument("--stubs", required=True, help="folder that stubs.py wrote")
    parser.add_argument("--lines", type=int, default=300, help="lines between the fact and the question")
    arguments = parser.parse_args()
    stubs.use(arguments.stubs)
    # A proxy for the internet must not see calls to this machine.
    with grpc.insecure_channel(arguments.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            run(channel, arguments.lines)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()} {error_reason(error)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
