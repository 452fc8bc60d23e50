#!/usr/bin/env node
// Bundles a plugin with all that it imports into one executable file, which is what a Tasker host starts:
//
//	tasker-plugin-build src/main.ts dist/tasker-plugin-shop
//
// The file runs wherever Node.js 20.16 or later is on PATH, beside any package.json. With TASKER_PLUGIN_SOURCEMAP in the
// environment it has the sources for debuggers.

import { chmod, mkdir, rename } from "node:fs/promises";
import { basename, dirname } from "node:path";

const [entry, out, ...more] = process.argv.slice(2);
if (!entry || !out || more.length > 0 || !basename(out).startsWith("tasker-plugin-")) {
  console.error("usage: tasker-plugin-build MAIN.ts DIR/tasker-plugin-NAME");
  process.exit(2);
}

let esbuild;
try {
  esbuild = await import("esbuild");
} catch {
  console.error("tasker-plugin-build needs esbuild: npm install --save-dev esbuild");
  process.exit(1);
}

// A file without an extension is CommonJS or a module as the nearest package.json says. This one is either: it takes
// `require` from the process.
const banner = `#!/usr/bin/env node
var require = process.getBuiltinModule("node:module").createRequire(process.execPath);`;

await mkdir(dirname(out), { recursive: true });
const temporary = `${out}.new`;
await esbuild
  .build({
    entryPoints: [entry],
    outfile: temporary,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "iife",
    banner: { js: banner },
    legalComments: "none",
    sourcemap: process.env.TASKER_PLUGIN_SOURCEMAP ? "inline" : false,
    logLevel: "warning",
  })
  .catch(() => process.exit(1)); // esbuild has said why
await chmod(temporary, 0o755);
await rename(temporary, out); // a host that watches the directory sees the whole file or none
