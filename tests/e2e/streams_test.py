import os
import signal
import subprocess
import threading
import time
import unittest

from tests.e2e.support import (
    MEMGATE, ServedTestCase, environment, error_reason, gateway_text, greedy, grpc, inference_pb2, session_pb2,
    wait_until)

STREAMS = 16
LONG = 4096  # the server's default limit; far more than any test waits for


def drain(call):
    """The token ids of an answer, and its `done`."""
    ids, done = [], None
    for response in call:
        ids.extend(response.delta.token_ids)
        if response.HasField("done"):
            done = response.done
    return ids, done


class ParallelStreamsTest(ServedTestCase):
    def setUp(self):
        # Half the streams run on the exact path without a session, half on the gated path of a filled one.
        self.bases = []
        for i in range(STREAMS // 2):
            name = self.api.create()
            self.api.ingest(name, gateway_text(600 + 150 * i, seed=100 + i))
            self.bases.append(name)

    def tearDown(self):
        for name in self.bases:
            self.api.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=name))

    def answer(self, i, copy):
        prompt = gateway_text(20 + 30 * i, seed=200 + i) + "ask: what is the reset mark of"
        session = ""
        if i % 2:
            session = self.api.sessions.ForkSession(session_pb2.ForkSessionRequest(
                name=self.bases[i // 2], session_id=f"{copy}-{i}")).name
        ids, done = drain(self.api.generate(session=session, prompt=prompt, max_tokens=48, ignore_eos=True,
                                            sampling=greedy()))
        if session:
            self.api.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=session))
        self.assertEqual(done.finish_reason, inference_pb2.FINISH_REASON_LENGTH)
        return ids

    def test_sixteen_streams_at_once_say_what_each_says_alone(self):
        alone = [self.answer(i, "alone") for i in range(STREAMS)]
        together = [None] * STREAMS
        start = threading.Barrier(STREAMS)

        def run(i):
            start.wait()
            together[i] = self.answer(i, "together")

        threads = [threading.Thread(target=run, args=(i,)) for i in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)
        self.assertEqual([len(ids) for ids in alone], [48] * STREAMS)


class EndOfStreamsTest(ServedTestCase):
    def start_long(self, session):
        call = self.api.generate(session=session, prompt="time", max_tokens=LONG, ignore_eos=True, sampling=greedy())
        self.wait_for_text(call)
        return call

    def wait_for_text(self, call):
        for response in call:
            if response.delta.token_ids:
                return
        self.fail("the stream ended before a token came")

    def wait_until_free(self, session):
        wait_until(lambda: not self.api.get(session).busy, f"{session} is free")
        self.assertLess(self.api.get(session).accounting.total_tokens, LONG)

    def test_cancelling_frees_the_session(self):
        session = self.api.create()
        call = self.start_long(session)
        call.cancel()
        self.wait_until_free(session)
        _, done = drain(self.api.generate(session=session, prompt="\n", max_tokens=3, ignore_eos=True))
        self.assertEqual(done.usage.completion_tokens, 3)

    def test_deadline_ends_the_call_and_frees_the_session(self):
        session = self.api.create()
        request = inference_pb2.GenerateRequest(session=session, prompt="time", max_tokens=LONG, ignore_eos=True)
        with self.assertRaises(grpc.RpcError) as caught:
            drain(self.api.inference.Generate(request, timeout=0.2))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.wait_until_free(session)

    def test_killed_client_frees_the_session(self):
        session = self.api.create()
        client = subprocess.Popen(
            [MEMGATE, "generate", "time", "--session", session, "--max-tokens", str(LONG), "--ignore-eos"],
            stdout=subprocess.PIPE, env=environment(MEMGATE_ADDRESS=self.address))
        self.assertTrue(os.read(client.stdout.fileno(), 1))
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
        self.wait_until_free(session)

    def test_second_turn_on_a_session_is_refused(self):
        session = self.api.create()
        call = self.start_long(session)
        with self.assertRaises(grpc.RpcError) as caught:
            drain(self.api.generate(session=session, prompt="time", max_tokens=1))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.ABORTED)
        self.assertEqual(error_reason(caught.exception), "SESSION_BUSY")
        call.cancel()

    def test_deleting_a_session_ends_its_turn(self):
        session = self.api.create()
        call = self.start_long(session)
        self.api.sessions.DeleteSession(session_pb2.DeleteSessionRequest(name=session))
        with self.assertRaises(grpc.RpcError):
            drain(call)

    def test_long_ingest_does_not_hold_up_other_streams(self):
        filled = self.api.create()
        text = gateway_text(40000, seed=300).encode()
        first, last = threading.Event(), []

        def ingest():
            requests = iter([inference_pb2.IngestRequest(session=filled, text=text[i:i + 65536])
                             for i in range(0, len(text), 65536)])
            for progress in self.api.inference.Ingest(requests):
                first.set()
            last.append(time.monotonic())

        thread = threading.Thread(target=ingest)
        thread.start()
        first.wait()
        drain(self.api.generate(prompt="time", max_tokens=8, ignore_eos=True))
        answered = time.monotonic()
        thread.join()
        self.assertLess(answered, last[0])


if __name__ == "__main__":
    unittest.main()
