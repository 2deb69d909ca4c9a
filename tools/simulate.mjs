// Reads a list of requests with their policies from standard input, as iam-simulate takes them, and writes what IAM
// decides about each: Allowed, ImplicitlyDenied or ExplicitlyDenied, or what is wrong with the request.
import { runSimulation } from "@cloud-copilot/iam-simulate";
import { text } from "node:stream/consumers";

async function decide(simulation) {
  const { errors, overallResult, result } = await runSimulation(simulation, {});
  const ignored = result?.ignoredContextKeys ?? [];
  if (ignored.length > 0) return `no such context: ${ignored.join(", ")}`;
  return errors ? JSON.stringify(errors) : overallResult;
}

// It takes no key of an encryption context. In requests and policies alike such a key stands under the name of a tag,
// which is compared in the same way.
const known = (await text(process.stdin)).replaceAll("kms:EncryptionContext:", "aws:ResourceTag/context:");
const decisions = [];
for (const simulation of JSON.parse(known)) decisions.push(await decide(simulation));
process.stdout.write(JSON.stringify(decisions));
