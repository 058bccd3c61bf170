import unittest

from tests.e2e.support import Api, ServerProcess, greedy, grpc, inference_pb2, wait_until


class DrainTest(unittest.TestCase):
    """SIGTERM while a stream runs."""

    def start(self, *flags):
        server = self.enterContext(ServerProcess(*flags))
        api = Api(server.address)
        self.addCleanup(api.close)
        return server, api

    def long_stream(self, api, tokens):
        call = api.generate(prompt="time", max_tokens=tokens, ignore_eos=True, sampling=greedy())
        for response in call:
            if response.delta.token_ids:
                return call, len(response.delta.token_ids)
        self.fail("the stream ended before a token came")

    def finish(self, call, tokens):
        for response in call:
            tokens += len(response.delta.token_ids)
            if response.HasField("done"):
                return response.done, tokens
        self.fail("the stream ended without `done`")

    def test_running_stream_finishes_and_the_server_exits_with_0(self):
        server, api = self.start("--drain-timeout", "60s")
        call, tokens = self.long_stream(api, 2000)
        server.terminate()
        done, tokens = self.finish(call, tokens)
        self.assertEqual(done.finish_reason, inference_pb2.FINISH_REASON_LENGTH)
        self.assertEqual(tokens, 2000)
        self.assertEqual(server.stop(), 0, server.log())

    def test_stream_that_outlives_the_drain_timeout_is_cut_with_an_ending(self):
        server, api = self.start("--drain-timeout", "50ms")
        call, tokens = self.long_stream(api, 4096)
        server.terminate()
        done, tokens = self.finish(call, tokens)
        self.assertEqual(done.finish_reason, inference_pb2.FINISH_REASON_CUT)
        self.assertLess(tokens, 4096)
        self.assertEqual(done.usage.completion_tokens, tokens)
        self.assertEqual(server.stop(), 0, server.log())

    def test_new_turns_are_refused_while_draining(self):
        server, api = self.start("--drain-timeout", "60s")
        call, tokens = self.long_stream(api, 4096)
        server.terminate()

        def refused():
            try:
                list(api.generate(prompt="time", max_tokens=1))
            except grpc.RpcError as error:
                return error
            return None

        error = wait_until(refused, "a new turn is refused")
        self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        call.cancel()
        self.assertEqual(server.stop(), 0, server.log())

    def test_idle_server_exits_with_0(self):
        server, _ = self.start()
        self.assertEqual(server.stop(), 0, server.log())


if __name__ == "__main__":
    unittest.main()
