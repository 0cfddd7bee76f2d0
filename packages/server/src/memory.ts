import { setFlagsFromString } from 'node:v8';

// why: left to itself, V8 lets garbage pile up to several times what is in use before it collects, and keeps those pages. A server
// that moves millions of items makes little that lasts, so the heap may grow by two fifths between collections. The young generation is
// bounded where node is started (--max-semi-space-size): it cannot be changed later.
setFlagsFromString('--heap-growing-percent=40');
