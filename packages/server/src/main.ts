#!/usr/bin/env -S node --max-semi-space-size=8
import './memory.ts';
import { runCommand } from './cli/program.ts';

// why: `docket` alone and `npm start` start the server
await runCommand(process.argv.length > 2 ? process.argv.slice(2) : ['serve']);
