import hashlib
import os
import subprocess
import tempfile
import unittest

from client.demo.server_process import DEMO_MODEL, SERVER
from tests.e2e.support import ServerProcess, environment, memgate, memgate_json

KEY_OF_ONE = "0123456789abcdef-one"
KEY_OF_TWO = "0123456789abcdef-two"
KEY_OF_NOBODY = "0123456789abcdef-nobody"


def openssl(*words, folder):
    subprocess.run(["openssl", *words], cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def make_certificates(folder):
    """An authority, a certificate of 127.0.0.1 and one of the client `plant`, as PEM files in `folder`."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=memgate test authority", "-keyout", "ca.key", "-out", "ca.pem", folder=folder)
    for name, subject, extension in (("server", "/CN=localhost", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                                     ("client", "/CN=plant", "extendedKeyUsage=clientAuth")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout",
                f"{name}.key", "-out", f"{name}.csr", folder=folder)
        with open(os.path.join(folder, f"{name}.ext"), "w", encoding="ascii") as f:
            f.write(extension + "\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem", folder=folder)


class FolderTestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    @classmethod
    def write(cls, name, text):
        with open(cls.path(name), "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(cls.path(name), 0o600)
        return cls.path(name)


class ApiKeyTest(FolderTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        hashed = hashlib.sha256(KEY_OF_TWO.encode()).hexdigest()
        keys = cls.write("keys", f"one {KEY_OF_ONE}\ntwo sha256:{hashed}\n")
        cls.server = cls.enterClassContext(ServerProcess("--api-keys", keys))

    def run_as(self, key, *words, check=True):
        return memgate_json(*words, address=self.server.address, MEMGATE_API_KEY=key, check=check)

    def test_calls_without_or_with_a_wrong_key_are_unauthenticated(self):
        for key in ("", KEY_OF_NOBODY):
            (answer,) = self.run_as(key, "models", check=False)
            self.assertEqual(answer["error"]["code"], "UNAUTHENTICATED")
            self.assertTrue(answer["error"]["reason"])

    def test_sessions_of_another_tenant_are_not_found(self):
        self.run_as(KEY_OF_ONE, "sessions", "create", "--id", "mine")
        self.addCleanup(self.run_as, KEY_OF_ONE, "sessions", "rm", "mine")
        for words in (["sessions", "show", "mine"], ["sessions", "rm", "mine"], ["sessions", "reset", "mine"],
                      ["sessions", "fork", "mine"], ["generate", "time", "--session", "mine"],
                      ["sessions", "export", "mine", self.path("export")]):
            answer = self.run_as(KEY_OF_TWO, *words, check=False)[-1]
            self.assertEqual(answer["error"]["code"], "NOT_FOUND", words)
        self.assertEqual(self.run_as(KEY_OF_TWO, "sessions", "list"), [])
        self.assertEqual(len(self.run_as(KEY_OF_ONE, "sessions", "list")), 1)

    def test_two_tenants_may_use_the_same_name(self):
        for key in (KEY_OF_ONE, KEY_OF_TWO):
            self.run_as(key, "sessions", "create", "--id", "same")
            self.addCleanup(self.run_as, key, "sessions", "rm", "same")

    def test_key_may_come_from_a_file(self):
        file = self.write("one.key", KEY_OF_ONE + "\n")
        models = memgate_json("models", "--api-key-file", file, address=self.server.address)
        self.assertEqual(len(models), 1)

    def test_key_is_not_sent_in_the_clear_to_another_machine(self):
        done = memgate("models", "--address", "192.0.2.1:50061", check=False, MEMGATE_API_KEY=KEY_OF_ONE)
        self.assertEqual(done.returncode, 1)
        self.assertIn("unencrypted", done.stderr)


class TlsTest(FolderTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_certificates(cls.folder)
        cls.server = cls.enterClassContext(ServerProcess("--tls-cert", cls.path("server.pem"), "--tls-key",
                                                         cls.path("server.key")))

    def test_command_line_trusts_the_named_authority(self):
        models = memgate_json("models", "--tls-ca", self.path("ca.pem"), address=self.server.address)
        self.assertEqual(len(models), 1)

    def test_unknown_authority_and_plain_text_are_refused(self):
        for words in (["--tls"], []):
            done = memgate("models", *words, "--timeout", "10s", address=self.server.address, check=False)
            self.assertEqual(done.returncode, 1, words)


class MutualTlsTest(FolderTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        make_certificates(cls.folder)
        cls.server = cls.enterClassContext(ServerProcess(
            "--tls-cert", cls.path("server.pem"), "--tls-key", cls.path("server.key"), "--tls-client-ca",
            cls.path("ca.pem")))

    def test_client_certificate_is_the_credential(self):
        words = ["--tls-ca", self.path("ca.pem"), "--tls-cert", self.path("client.pem"), "--tls-key",
                 self.path("client.key")]
        self.assertEqual(len(memgate_json("models", *words, address=self.server.address)), 1)

    def test_client_without_certificate_is_refused(self):
        done = memgate("models", "--tls-ca", self.path("ca.pem"), "--timeout", "10s", address=self.server.address,
                       check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a client certificate is required", done.stderr)


class PublicAddressTest(unittest.TestCase):
    def test_serving_other_machines_needs_authentication_or_consent(self):
        done = subprocess.run([SERVER, "--model", DEMO_MODEL, "--listen", "0.0.0.0:0"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60, env=environment())
        self.assertEqual(done.returncode, 2)
        self.assertIn("--allow-insecure-public", done.stderr)


if __name__ == "__main__":
    unittest.main()
