// Files, names, connections and children by Node's own doors; the first argument names the case.
'use strict';
const fs = require('fs');
const net = require('net');
const os = require('os');
const dns = require('dns');
const http = require('http');
const path = require('path');
const crypto = require('crypto');
const child = require('child_process');

const sha = (data) => crypto.createHash('sha256').update(data).digest('hex');
const attempt = (work) => {
  try { return work(); } catch (problem) { return `${problem.code} ${problem.syscall}`; }
};

const cases = {
  async read(...paths) {
    for (const name of paths) {
      console.log(fs.readFileSync(name).length, sha(await fs.promises.readFile(name)));
    }
    const parts = [];
    for await (const part of fs.createReadStream(paths[0], { start: 5, end: 14 })) parts.push(part);
    console.log(Buffer.concat(parts).toString());
  },
  async list(folder) {
    const entries = await fs.promises.readdir(folder, { withFileTypes: true, encoding: 'buffer' });
    const lines = entries.map((entry) =>
      `${entry.name.toString('latin1')} ${entry.isFile()} ${entry.isDirectory()} ${entry.isSymbolicLink()}`);
    console.log(lines.sort().join('\n'));
    const handle = await fs.promises.opendir(folder);
    let count = 0;
    for await (const _entry of handle) count += 1;
    console.log(count, attempt(() => fs.readdirSync(folder + '/no-such-name').length));
  },
  stat(...paths) {
    for (const name of paths) {
      for (const work of [fs.statSync, fs.lstatSync]) {
        const info = attempt(() => work(name, { bigint: true }));
        console.log(name, typeof info === 'string' ? info
          : `${info.mode.toString(8)} ${info.isDirectory() ? '' : info.size} ${info.mtimeNs}`);
      }
      console.log(fs.existsSync(name), attempt(() => fs.accessSync(name, fs.constants.R_OK)));
    }
  },
  links(...paths) {
    for (const name of paths) {
      console.log(attempt(() => fs.readlinkSync(name)), attempt(() => fs.realpathSync(name)),
        attempt(() => fs.realpathSync.native(name)));
    }
  },
  async copy(source) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'case-'));
    try {
      await fs.promises.copyFile(source, path.join(folder, 'copy'));
      console.log(sha(fs.readFileSync(path.join(folder, 'copy'))));
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  },
  async handle(name) {
    const file = await fs.promises.open(name);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(7), 0, 7, 10);
    console.log(bytesRead, buffer.toString(), (await file.stat()).size);
    await file.close();
  },
  get(url) {
    return new Promise((resolve, reject) => {
      http.get(url, { agent: false }, (answer) => {
        let text = '';
        answer.on('data', (part) => { text += part; });
        answer.on('end', () => {
          console.log(answer.statusCode, text);
          resolve();
        });
      }).on('error', reject);
    });
  },
  async fetch(url) {
    const answer = await fetch(url, { headers: { connection: 'close' } });
    console.log(answer.status, await answer.text());
  },
  exchange(host, port) {
    return new Promise((resolve) => {
      const socket = net.connect({ host, port: Number(port) }, () => {
        console.log(socket.remoteAddress, socket.remotePort, socket.remoteFamily);
        socket.end('hello');
      });
      const parts = [];
      socket.on('data', (part) => parts.push(part));
      socket.on('error', (problem) => console.log(problem.code, problem.syscall));
      socket.on('close', () => {
        console.log(Buffer.concat(parts).toString());
        resolve();
      });
    });
  },
  async names(...names) {
    for (const name of names) {
      try {
        const found = await dns.promises.lookup(name, { all: true });
        console.log(name, found.map((item) => `${item.family} ${item.address}`).sort().join(' '));
      } catch (problem) {
        console.log(name, problem.code);
      }
    }
  },
  service(address) {
    return new Promise((resolve) => {
      dns.lookupService(address, 80, (problem, host, service) => {
        console.log(problem ? problem.code : `${host} ${service}`);
        resolve();
      });
    });
  },
  machine() {
    console.log(os.hostname());
  },
  environment(...names) {
    for (const name of names) console.log(name, JSON.stringify(process.env[name]));
  },
  async children(name) {
    console.log(child.execFileSync('/bin/cat', [name]).toString());
    console.log(child.execFileSync('/bin/cat', [name], { env: {} }).toString());
    console.log(child.spawnSync('cat', [name]).stdout.toString());
    console.log(child.execSync(`cat ${name} | wc -c`).toString());
    const forked = child.fork(__filename, ['read', name], { silent: true });
    let text = '';
    forked.stdout.on('data', (part) => { text += part; });
    const code = await new Promise((resolve) => forked.on('close', resolve));
    console.log(code, text);
  },
};

Promise.resolve(cases[process.argv[2]](...process.argv.slice(3))).catch((problem) => {
  console.log('failed', problem.code || problem.message, problem.cause ? problem.cause.code : '');
  process.exitCode = 1;
});
