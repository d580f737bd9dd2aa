// What test_docker_others.py has dockerode do: node dockerode.js SOCKET IMAGE prints what it found as JSON.
const Docker = require('dockerode');
const { PassThrough } = require('stream');

const [socketPath, image] = process.argv.slice(2);
const docker = new Docker({ socketPath });
const none = { NetworkMode: 'none' };
const FRAME_HEAD = 8;

const collect = stream => new Promise((resolve, reject) => {
  const pieces = [];
  stream.on('data', piece => pieces.push(Buffer.from(piece)));
  for (const event of ['end', 'close']) stream.on(event, () => resolve(Buffer.concat(pieces)));
  stream.on('error', reject);
});

async function run(command) {
  const out = new PassThrough(), err = new PassThrough();
  const texts = [collect(out), collect(err)];
  const [ended, container] = await docker.run(image, command, [out, err], { Tty: false, HostConfig: none });
  out.end();
  err.end();
  await container.remove();
  return [ended.StatusCode, ...(await Promise.all(texts)).map(String)];
}

async function terminal() {
  const out = new PassThrough();
  const text = collect(out);
  const [ended, container] = await docker.run(image, ['tty'], out, { Tty: true, HostConfig: none });
  out.end();
  await container.remove();
  return [ended.StatusCode, String(await text)];
}

async function execute(container) {
  const wanted = { Cmd: ['sh', '-c', 'echo o; echo e >&2; exit 3'], AttachStdout: true, AttachStderr: true };
  const made = await container.exec(wanted);
  const stream = await made.start({});
  const out = new PassThrough(), err = new PassThrough();
  const texts = [collect(out), collect(err)];
  docker.modem.demuxStream(stream, out, err);
  await new Promise(resolve => stream.on('end', resolve));
  out.end();
  err.end();
  return [(await made.inspect()).ExitCode, ...(await Promise.all(texts)).map(String)];
}

async function executeWithInput(container) {
  const made = await container.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
  const stream = await made.start({ hijack: true, stdin: true });
  const text = collect(stream);
  stream.end('through\n');
  const found = (await text).subarray(FRAME_HEAD);
  return [(await made.inspect()).ExitCode, String(found)];
}

async function attach() {
  const wanted = { Image: image, Cmd: ['cat'], OpenStdin: true, StdinOnce: true, HostConfig: none };
  const container = await docker.createContainer(wanted);
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
  const text = collect(stream);
  await container.start();
  stream.end('hey\n');
  const found = (await text).subarray(FRAME_HEAD);
  const ended = await container.wait();
  await container.remove();
  return [ended.StatusCode, String(found)];
}

async function logs() {
  const container = await docker.createContainer({ Image: image, Cmd: ['seq', '2'], Tty: false, HostConfig: none });
  await container.start();
  await container.wait();
  const out = new PassThrough();
  const text = collect(out);
  const stream = await container.logs({ stdout: true, stderr: true, follow: true });
  container.modem.demuxStream(stream, out, out);
  await new Promise(resolve => stream.on('end', resolve));
  out.end();
  await container.remove();
  return String(await text);
}

async function events() {
  const since = Date.now() / 1000;
  await run(['true']);
  const filters = { type: ['container'], event: ['create', 'start', 'die', 'destroy'] };
  const until = (Date.now() + 1) / 1000; // what the clock gives is rounded down
  const stream = await docker.getEvents({ since, until, filters });
  return String(await collect(stream)).trim().split('\n').map(line => JSON.parse(line).Action);
}

async function main() {
  const found = { run: await run(['sh', '-c', 'echo out; echo err >&2; exit 2']), terminal: await terminal() };
  const wanted = { Image: image, Cmd: ['sleep', '1000'], name: 'node', Labels: { a: 'b' }, HostConfig: none };
  const container = await docker.createContainer(wanted);
  await container.start();
  found.listed = (await docker.listContainers({ filters: { label: ['a=b'] } })).flatMap(each => each.Names);
  found.exec = await execute(container);
  found.input = await executeWithInput(container);
  found.attached = await attach();
  found.logs = await logs();
  found.archive = (await collect(await container.getArchive({ path: '/etc/passwd' }))).includes('root:x:0:0');
  await container.stop({ t: 0 });
  await container.remove();
  found.missing = await container.inspect().catch(error => [error.statusCode, error.reason]);
  found.events = await events();
  found.networks = (await docker.listNetworks()).map(each => each.Name);
  found.left = (await docker.listContainers({ all: true })).length;
  console.log(JSON.stringify(found));
}

main();
