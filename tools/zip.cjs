// Zips folders by the zip writer of the CDK CLI, which has no command for it. For the tests.
// Reads lines of JSON, [folder, zip], and answers each with a line: null, or the message of the error.
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const Module = require("node:module");
const { join } = require("node:path");

const file = join(__dirname, "node_modules/aws-cdk/lib/index.js");
const [, writer] = /var (\w+) = __commonJS\(\{\s*"[^"]*private-tools\/lib\/zip\/index\.js"/.exec(readFileSync(file, "utf8"));
const cli = new Module(file, module);
cli.filename = file;
cli.paths = Module._nodeModulePaths(file);
cli._compile(`${readFileSync(file, "utf8")}\nmodule.exports = ${writer}();`, file);

(async () => {
  for await (const line of createInterface({ input: process.stdin })) {
    const [folder, zip] = JSON.parse(line);
    const failure = await cli.exports.zipDirectory(folder, zip).then(() => null, (error) => error.message);
    console.log(JSON.stringify(failure));
  }
})();
