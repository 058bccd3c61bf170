// A session that remembers, from Node.js with stock @grpc/grpc-js.
//
//   npm ci && node remember.js --address 127.0.0.1:50061
//
// Creates a session, tells it a fact, buries the fact under other lines, asks for it, and deletes the session.
'use strict';

const path = require('path');
const { parseArgs, promisify } = require('util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const FACT = 'note: the service code of pump K7 is 4921\n';
const QUESTION = 'ask: what is the service code of pump K7?';

const { values: options } = parseArgs({
  options: {
    address: { type: 'string', default: '127.0.0.1:50061' },
    proto: { type: 'string', default: path.join(__dirname, '..', '..', '..', 'proto') },
    lines: { type: 'string', default: '300' },
  },
});

function load() {
  const files = ['inference', 'session'].map((name) => `memgate/v1/${name}.proto`);
  const definition = protoLoader.loadSync(files, {
    includeDirs: [options.proto], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
  });
  return grpc.loadPackageDefinition(definition).memgate.v1;
}

function ingest(inference, session) {
  return new Promise((resolve, reject) => {
    const call = inference.Ingest();
    let last;
    call.on('data', (progress) => { last = progress; });
    call.on('error', reject);
    call.on('end', () => resolve(last));
    call.write({ session, text: Buffer.from(FACT) });
    for (let i = 0; i < Number(options.lines); i++) {
      call.write({ text: Buffer.from(`telemetry fan B${i % 10} temperature ${20 + (i % 70)}.${i % 10} degrees status ok\n`) });
    }
    call.end();
  });
}

async function generate(inference, session) {
  let answer = '';
  const request = { session, prompt: QUESTION, max_tokens: 16, stop: ['\n'] };
  for await (const response of inference.Generate(request)) {
    if (response.event === 'route') {
      const { path: taken, reason, full_kv_bytes: full } = response.route;
      console.log(`${taken} (${reason}), full KV cache would take ${full.toLocaleString('en')} bytes`);
    } else if (response.event === 'delta') {
      answer += response.delta.text;
    } else {
      const held = response.done.accounting;
      console.log(`${held.exact_tokens} exact, ${held.salient_tokens} salient, ` +
        `${held.compressed_tokens} compressed, ${held.forgotten_tokens} forgotten`);
    }
  }
  console.log(`${QUESTION}${answer}`);
}

async function main() {
  const api = load();
  // A proxy for the internet must not see calls to this machine.
  const channel = [options.address, grpc.credentials.createInsecure(), { 'grpc.enable_http_proxy': 0 }];
  const inference = new api.InferenceService(...channel);
  const sessions = new api.SessionService(...channel);
  const call = (method, request) => promisify(sessions[method]).call(sessions, request);
  try {
    const session = await call('CreateSession', {});
    console.log(`${session.name}: ${session.memory_kind}, ${session.session_bytes.toLocaleString('en')} bytes for its whole life`);
    try {
      const last = await ingest(inference, session.name);
      console.log(`ingested ${last.ingested_tokens.toLocaleString('en')} tokens`);
      await generate(inference, session.name);
    } finally {
      await call('DeleteSession', { name: session.name });
    }
  } finally {
    inference.close();
    sessions.close();
  }
}

main().catch((error) => {
  console.error(`${error.code === undefined ? '' : grpc.status[error.code] + ': '}${error.details || error.message}`);
  process.exitCode = 1;
});
