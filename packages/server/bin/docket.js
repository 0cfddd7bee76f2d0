#!/usr/bin/env node
// why a file of its own: npm links a command only if its file is there at install, and dist is built later
import '../dist/main.js';
