#!/usr/bin/env node
import { runCommand } from './cli/program.ts';

// why: `docket` alone and `npm start` start the server
await runCommand(process.argv.length > 2 ? process.argv.slice(2) : ['serve']);
