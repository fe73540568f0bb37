// One request on the given port, then the end; `listening` is the test's event.
'use strict';
const http = require('http');

const server = http.createServer((request, answer) => {
  answer.setHeader('Connection', 'close');
  answer.end(`stolen ${request.socket.remoteAddress}\n`, () => server.close());
});
server.listen(Number(process.argv[2]), process.argv[3], () => console.log('listening', server.address().port));
