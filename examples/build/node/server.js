const http = require('http')
const os = require('os')

http.createServer((request, response) => {
  response.end(`Hello from Node.js ${process.version} on ${os.hostname()}\n`)
}).listen(process.env.PORT)
