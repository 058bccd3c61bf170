"""Serves the demo model for the time of one `memgate chat`."""

import signal
import subprocess
import sys

from client.demo.server_process import MEMGATE, ServerFailed, ServerProcess, environment

HINT = """Chat with the demo model, which reads logs of an industrial gateway. Try:
  /add note: the service code of pump K7 is 4921
  what is the service code of pump K7?
"""


def main():
    print(HINT, file=sys.stderr)
    try:
        with ServerProcess() as server:
            # Ctrl-C belongs to the chat: it stops an answer, not the conversation.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            chat = subprocess.Popen([MEMGATE, "chat", *sys.argv[1:]],
                                    env=environment(MEMGATE_ADDRESS=server.address),
                                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
            return chat.wait()
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
